//! What `object_store` needs to speak with a bucket: HTTP and hashes, by the crates that are here anyway.

use std::time::Duration;

use async_trait::async_trait;
use hmac::{Hmac, Mac};
use http_body_util::BodyExt;
use object_store::client::{
    CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, HttpClient, HttpConnector,
    HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService, Signer,
    SigningAlgorithm,
};
use object_store::{ClientConfigKey, ClientOptions, Error, Result};
use reqwest::{Body, Client, Method, Request, Url, redirect};
use sha2::{Digest, Sha256};

/// Longest time for a connection.
const CONNECTING: Duration = Duration::from_secs(3);

/// Longest silence of a bucket.
const SILENCE: Duration = Duration::from_secs(4);

/// A bucket takes a body at this many bytes a second, or the link is of no use.
const SLOWEST: u64 = 128 * 1024;

/// How long a bucket may put the parts of an upload together.
const JOINING: Duration = Duration::from_secs(60);

/// Makes clients.
#[derive(Debug)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp);
        let plain = plain.is_some_and(|plain| plain.parse() == Ok(true));
        let client = || {
            Client::builder()
                .connect_timeout(CONNECTING)
                .redirect(redirect::Policy::none())
                .https_only(!plain)
        };
        let unusable = |error| Error::Generic { store: "S3", source: Box::new(error) };
        let reads = client().read_timeout(SILENCE).build().map_err(unusable)?;
        // While a body goes out there is nothing to read, so writes have a limit of their own.
        let writes = client().build().map_err(unusable)?;
        Ok(HttpClient::new(Clients { reads, writes }))
    }
}

#[derive(Debug)]
struct Clients {
    reads: Client,
    writes: Client,
}

#[async_trait]
impl HttpService for Clients {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let url = head.uri.to_string();
        let url =
            Url::parse(&url).map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let length = body.content_length() as u64;
        let writes = matches!(head.method, Method::PUT | Method::POST);
        let joins = head.method == Method::POST && length > 0;
        let mut request = Request::new(head.method, url);
        *request.headers_mut() = head.headers;
        if length > 0 {
            *request.body_mut() = Some(Body::wrap(body));
        }
        let client = if writes {
            let sending = Duration::from_secs(length / SLOWEST);
            let joining = if joins { JOINING } else { Duration::ZERO };
            *request.timeout_mut() = Some(SILENCE + sending + joining);
            &self.writes
        } else {
            &self.reads
        };
        let response = client.execute(request).await.map_err(failed)?;
        let answer = axum::http::Response::<Body>::from(response);
        Ok(answer.map(|body| HttpResponseBody::new(body.map_err(failed))))
    }
}

/// Tells apart what may be tried again.
fn failed(error: reqwest::Error) -> HttpError {
    let kind = if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_request() || error.is_body() {
        HttpErrorKind::Interrupted
    } else if error.is_decode() {
        HttpErrorKind::Decode
    } else {
        HttpErrorKind::Unknown
    };
    // The address holds the name of the object.
    HttpError::new(kind, error.without_url())
}

/// SHA-256 for signatures.
#[derive(Debug)]
pub(super) struct Crypto;

impl CryptoProvider for Crypto {
    fn digest(&self, algorithm: DigestAlgorithm) -> Result<Box<dyn DigestContext>> {
        match algorithm {
            DigestAlgorithm::Sha256 => Ok(Box::new(Digesting(Sha256::new(), [0; 32]))),
            _ => Err(unknown()),
        }
    }

    fn hmac(&self, algorithm: DigestAlgorithm, secret: &[u8]) -> Result<Box<dyn HmacContext>> {
        match algorithm {
            DigestAlgorithm::Sha256 => {
                let mac = Hmac::<Sha256>::new_from_slice(secret);
                let mac =
                    mac.map_err(|error| Error::Generic { store: "S3", source: error.into() })?;
                Ok(Box::new(Signing(mac, [0; 32])))
            }
            _ => Err(unknown()),
        }
    }

    fn sign(&self, _algorithm: SigningAlgorithm, _pem: &[u8]) -> Result<Box<dyn Signer>> {
        Err(unknown())
    }
}

fn unknown() -> Error {
    Error::NotSupported { source: "S3 signs with SHA-256 only".into() }
}

struct Digesting(Sha256, [u8; 32]);

impl DigestContext for Digesting {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.1 = self.0.finalize_reset().into();
        Ok(&self.1)
    }
}

struct Signing(Hmac<Sha256>, [u8; 32]);

impl HmacContext for Signing {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.1 = self.0.finalize_reset().into_bytes().into();
        Ok(&self.1)
    }
}
