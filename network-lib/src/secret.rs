//! Texts that open something and must not get into logs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A secret on its way between the two programs; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// A new one: 32 bytes from the operating system's generator, in hexadecimal digits.
    #[must_use]
    pub fn random() -> Self {
        Self(hex::encode(crate::ids::random_bytes::<32>()))
    }

    /// The text, to be presented or compared.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_sent_as_it_is_and_not_shown() {
        let secret = Secret::random();
        assert_eq!(secret.reveal().len(), 64);
        assert_ne!(secret, Secret::random());
        assert_eq!(serde_json::to_string(&secret).ok(), Some(format!("{:?}", secret.reveal())));
        assert_eq!(format!("{secret:?}"), "***");
    }
}
