//! Credentials of a registry, from the file that `docker login` writes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bollard::auth::DockerCredentials;
use serde::Deserialize;

/// Docker Hub, which images without a registry come from, by the name under which `docker login` keeps it.
const DOCKER_HUB: &str = "index.docker.io";

/// The part of Docker's `config.json` that holds credentials.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigFile {
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credsStore")]
    creds_store: Option<String>,
    #[serde(rename = "credHelpers")]
    cred_helpers: BTreeMap<String, String>,
}

/// Credentials of one registry.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    /// User and password with a colon between them, in base64.
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// What a file knows about an image's registry.
#[derive(Debug, PartialEq)]
pub(super) enum Known {
    /// Credentials.
    Credentials(DockerCredentials),
    /// They are kept by a credential helper, which is not asked.
    InHelper,
    /// Nothing.
    Nothing,
}

/// Reads what `file`, else Docker's own file, knows about the registry of `image`.
///
/// # Errors
///
/// When the file cannot be read. Docker's own may be absent.
pub(super) fn read(file: Option<&Path>, image: &str) -> Result<Known, String> {
    let Some(path) = file.map(Path::to_owned).or_else(default_file) else {
        return Ok(Known::Nothing);
    };
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if file.is_none() && error.kind() == ErrorKind::NotFound => {
            return Ok(Known::Nothing);
        }
        Err(error) => {
            return Err(format!("the registry's credentials in {}: {error}", path.display()));
        }
    };
    // The parser's own message may have a part of the file's text, which is secret.
    let parsed = serde_json::from_slice(&text)
        .map_err(|error| format!("line {}, column {}", error.line(), error.column()));
    let known = parsed.and_then(|file: ConfigFile| find(&file, registry_of(image)));
    known.map_err(|reason| {
        format!(
            "the registry's credentials in {} cannot be read ({reason}): expected the format of Docker's config.json",
            path.display()
        )
    })
}

fn default_file() -> Option<PathBuf> {
    file_below(|name| std::env::var_os(name))
}

/// Docker's own file, by these environment variables.
fn file_below(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // To Docker an empty variable is as good as none.
    let folder = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || Some(folder("HOME")?.join(".docker"));
    Some(folder("DOCKER_CONFIG").or_else(home)?.join("config.json"))
}

/// The registry of an image: the first part of its name if that is a host.
fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => DOCKER_HUB,
    }
}

/// The registry in a key of the file, which may have a scheme and a path.
fn host_of(key: &str) -> &str {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    match key.split('/').next().unwrap_or(key) {
        "docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        host => host,
    }
}

fn find(file: &ConfigFile, registry: &str) -> Result<Known, String> {
    let registry = host_of(registry);
    let entry = file.auths.iter().find(|(key, _)| host_of(key) == registry);
    if let Some((key, entry)) = entry
        && let Some(credentials) = credentials(key, entry)?
    {
        return Ok(Known::Credentials(credentials));
    }
    let has_helper =
        file.creds_store.is_some() || file.cred_helpers.keys().any(|key| host_of(key) == registry);
    Ok(if has_helper { Known::InHelper } else { Known::Nothing })
}

/// The credentials in an entry; none if it is empty, as beside a credential helper.
fn credentials(key: &str, entry: &Entry) -> Result<Option<DockerCredentials>, String> {
    let mut found = DockerCredentials {
        username: entry.username.clone(),
        password: entry.password.clone(),
        identitytoken: entry.identitytoken.clone(),
        serveraddress: Some(key.to_owned()),
        ..Default::default()
    };
    if let Some(auth) = entry.auth.as_deref().filter(|auth| !auth.is_empty()) {
        let decoded = BASE64_STANDARD.decode(auth).ok().and_then(|it| String::from_utf8(it).ok());
        let Some((user, password)) = decoded.as_deref().and_then(|text| text.split_once(':'))
        else {
            return Err(format!("`auth` of {key} is not USER:PASSWORD in base64"));
        };
        found.username = Some(user.to_owned());
        found.password = Some(password.trim_end_matches('\0').to_owned());
    }
    let is_empty = found.password.is_none() && found.identitytoken.is_none();
    Ok((!is_empty).then_some(found))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn known(text: &str, image: &str) -> Result<Known, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        std::fs::write(&file, text).unwrap();
        read(Some(&file), image)
    }

    fn login(text: &str, image: &str) -> (String, String) {
        match known(text, image).unwrap() {
            Known::Credentials(found) => (found.username.unwrap(), found.password.unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_registry_s_credentials_are_found_by_its_host() {
        // "anna:se:cret" and "hub:x".
        let text = r#"{"auths": {
            "https://ghcr.io/v2/": {"auth": "YW5uYTpzZTpjcmV0"},
            "https://index.docker.io/v1/": {"auth": "aHViOng="},
            "localhost:5000": {"username": "local", "password": "y"}
        }}"#;
        let anna = ("anna".to_owned(), "se:cret".to_owned());
        assert_eq!(login(text, "ghcr.io/team/sp1-gpu-server:6.10.0"), anna);
        assert_eq!(login(text, "team/sp1-gpu-server:6.10.0").0, "hub");
        assert_eq!(login(text, "docker.io/team/server").0, "hub");
        assert_eq!(login(text, "sp1-gpu-server:6.10.0").0, "hub");
        assert_eq!(login(text, "localhost:5000/server@sha256:00").0, "local");
        assert_eq!(known(text, "example.org/server"), Ok(Known::Nothing));
    }

    #[test]
    fn docker_s_own_file_is_where_docker_looks() {
        let file = |config: Option<&'static str>, home: Option<&'static str>| {
            let of = |name: &str| if name == "HOME" { home } else { config };
            file_below(|name| of(name).map(OsString::from))
        };
        let at = |path: &str| Some(PathBuf::from(path));
        assert_eq!(file(Some("/etc/docker"), Some("/root")), at("/etc/docker/config.json"));
        assert_eq!(file(Some(""), Some("/root")), at("/root/.docker/config.json"));
        assert_eq!(file(None, Some("/root")), at("/root/.docker/config.json"));
        assert_eq!(file(None, None), None);
    }

    #[test]
    fn a_credential_helper_is_recognised() {
        let text = r#"{"auths": {"ghcr.io": {}}, "credsStore": "desktop"}"#;
        assert_eq!(known(text, "ghcr.io/a"), Ok(Known::InHelper));
        let text = r#"{"credHelpers": {"ghcr.io": "pass"}}"#;
        assert_eq!(known(text, "ghcr.io/a"), Ok(Known::InHelper));
        assert_eq!(known(text, "example.org/a"), Ok(Known::Nothing));
    }

    #[test]
    fn a_damaged_file_is_named_without_its_contents() {
        let reason = known(r#"{"auths": {"ghcr.io": {"auth": "c2VjcmV0"}}}"#, "ghcr.io/a");
        let reason = reason.unwrap_err();
        assert!(reason.contains("config.json") && !reason.contains("c2VjcmV0"), "{reason}");
        let reason = known(r#"{"auths": "c2VjcmV0"}"#, "ghcr.io/a").unwrap_err();
        assert!(reason.contains("line 1") && !reason.contains("c2VjcmV0"), "{reason}");
        let missing = read(Some(Path::new("/no/such/file")), "ghcr.io/a").unwrap_err();
        assert!(missing.contains("/no/such/file"), "{missing}");
    }
}
