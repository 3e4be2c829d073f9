//! HTTP client and hashes for `object_store`, on top of crates that the program already uses.

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

/// Timeout of a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Timeout of a read.
const READ_TIMEOUT: Duration = Duration::from_secs(4);

/// Minimum rate of an upload in bytes per second.
const MIN_RATE: u64 = 128 * 1024;

/// Additional time for a bucket to join the parts of an upload.
const JOIN_TIME: Duration = Duration::from_secs(60);

/// Factory of HTTP clients.
#[derive(Debug)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp);
        let plain = plain.is_some_and(|plain| plain.parse() == Ok(true));
        let client = || {
            Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .redirect(redirect::Policy::none())
                .https_only(!plain)
        };
        let unusable = |error| Error::Generic { store: "S3", source: Box::new(error) };
        let reads = client().read_timeout(READ_TIMEOUT).build().map_err(unusable)?;
        // Nothing is read while a body is sent, so writes have their own timeout.
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
            let sending = Duration::from_secs(length / MIN_RATE);
            let joining = if joins { JOIN_TIME } else { Duration::ZERO };
            *request.timeout_mut() = Some(READ_TIMEOUT + sending + joining);
            &self.writes
        } else {
            &self.reads
        };
        let response = client.execute(request).await.map_err(failed)?;
        let answer = axum::http::Response::<Body>::from(response);
        Ok(answer.map(|body| HttpResponseBody::new(body.map_err(failed))))
    }
}

/// Classifies an error, which decides about a retry.
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
    // The URL contains the name of the object.
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
    Error::NotSupported { source: "only SHA-256 is supported".into() }
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
