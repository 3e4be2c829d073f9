//! Request signatures (contract, section 3).
//!
//! Signatures are EIP-191 personal messages over secp256k1, 65 bytes r, s, v. The signer is recovered over the
//! raw bytes of the body as received, so no schema difference can change the signer.

use std::collections::BTreeSet;

use alloy_primitives::{Address, Signature};

use crate::config::AuthMode;

/// Message that clients sign for `CreateArtifact`, in every SDK version.
pub const CREATE_ARTIFACT_MESSAGE: &[u8] = b"create_artifact";

/// Why a call is not authenticated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The signature is missing, malformed or recovers to no address.
    #[error("{0}")]
    Unauthenticated(String),
    /// The signature is valid, but the signer is not on the allowlist.
    #[error("address {0} is not on the allowlist: ask the operator of this network to add it")]
    NotAllowed(Address),
    /// The signer belongs to another client than the token.
    #[error(
        "address {0} does not belong to the client of this token: expected a key of that client"
    )]
    OtherClient(Address),
    /// The signer's client does not call from the caller's network.
    #[error(
        "calls signed by {0} are not accepted from this network address: ask the operator of this \
         network to add it to `networks` of the client"
    )]
    OtherNetwork(Address),
}

/// Authenticates calls by their signature.
#[derive(Debug)]
pub struct Authenticator {
    mode: AuthMode,
    allowlist: BTreeSet<Address>,
}

impl Authenticator {
    /// An authenticator of this mode. The list is used only in [`AuthMode::Allowlist`].
    #[must_use]
    pub fn new(mode: AuthMode, allowlist: impl IntoIterator<Item = Address>) -> Self {
        Self { mode, allowlist: allowlist.into_iter().collect() }
    }

    /// The address that signed `message`; the zero address for an unusable signature if the mode requires none.
    ///
    /// # Errors
    ///
    /// [`AuthError`] when the mode requires a valid signature, or a listed signer.
    pub fn authenticate(&self, message: &[u8], signature: &[u8]) -> Result<Address, AuthError> {
        let signer = recover(message, signature);
        match self.mode {
            AuthMode::None => Ok(signer.unwrap_or(Address::ZERO)),
            AuthMode::Verify | AuthMode::Token => signer.map_err(AuthError::Unauthenticated),
            AuthMode::Allowlist => {
                let signer = signer.map_err(AuthError::Unauthenticated)?;
                let allowed = self.allowlist.contains(&signer);
                if allowed { Ok(signer) } else { Err(AuthError::NotAllowed(signer)) }
            }
        }
    }
}

/// Recovers the signer of an EIP-191 message.
///
/// The last byte is accepted in every form that an SDK sends: 0/1, 27/28, and 54/55 (27 added twice, SDK
/// 5.1.1 and later on `CreateArtifact`). It must not be read as EIP-155, which would flip the parity of
/// 54/55 and yield another address.
///
/// # Errors
///
/// A description of the fault in the signature.
pub fn recover(message: &[u8], signature: &[u8]) -> Result<Address, String> {
    if signature.is_empty() {
        return Err("call not signed: expected a signature of 65 bytes".into());
    }
    let Some((&v, r_and_s)) = signature.split_last().filter(|_| signature.len() == 65) else {
        return Err(format!("invalid signature ({} bytes): expected 65 bytes", signature.len()));
    };
    let odd = match v {
        0 | 27 | 54 => false,
        1 | 28 | 55 => true,
        _ => {
            return Err(format!(
                "invalid signature: unknown recovery byte {v}, expected 0, 1, 27, 28, 54 or 55"
            ));
        }
    };
    Signature::from_bytes_and_parity(r_and_s, odd)
        .recover_address_from_msg(message)
        .map_err(|error| format!("invalid signature: no address can be recovered ({error})"))
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{address, hex};

    use super::*;

    /// Contract, appendix B: key 32 x 0x01 signing `create_artifact`.
    const SIGNER: Address = address!("1a642f0e3c3af545e7acbd38b07251b3990914f1");
    const R_AND_S: [u8; 64] = hex!(
        "c501daa290f875e4057153155e7d3810ba316173c9a420f303c97a19a4b8c582"
        "167875479f95b241e684220e80f91f5ee26bb32de2d3b5d7096350ab8bc8dd78"
    );

    fn signature(v: u8) -> Vec<u8> {
        [R_AND_S.as_slice(), &[v]].concat()
    }

    #[test]
    fn every_recovery_byte_that_an_sdk_sends_gives_the_signer() {
        for v in [0, 27, 54] {
            assert_eq!(recover(CREATE_ARTIFACT_MESSAGE, &signature(v)), Ok(SIGNER), "v = {v}");
        }
        for v in [1, 28, 55] {
            let flipped = address!("c3def5acf17de7b65e2209117a474607b090fe9c");
            assert_eq!(recover(CREATE_ARTIFACT_MESSAGE, &signature(v)), Ok(flipped), "v = {v}");
        }
    }

    #[test]
    fn unusable_signatures_are_named() {
        let error = |s: &[u8]| recover(CREATE_ARTIFACT_MESSAGE, s).expect_err("refused");
        assert!(error(&[]).contains("not signed"));
        assert!(error(&[1; 64]).contains("(64 bytes): expected 65"));
        assert!(error(&signature(29)).contains("recovery byte 29"));
        assert!(error(&[0; 65]).contains("no address can be recovered"));
    }

    #[test]
    fn each_mode_admits_the_signers_that_it_should() {
        let message = CREATE_ARTIFACT_MESSAGE;
        let none = Authenticator::new(AuthMode::None, []);
        assert_eq!(none.authenticate(message, &[]), Ok(Address::ZERO));
        assert_eq!(none.authenticate(message, &signature(54)), Ok(SIGNER));
        let verify = Authenticator::new(AuthMode::Verify, []);
        assert!(matches!(verify.authenticate(message, &[]), Err(AuthError::Unauthenticated(_))));
        assert_eq!(verify.authenticate(message, &signature(54)), Ok(SIGNER));
        let listed = Authenticator::new(AuthMode::Allowlist, [SIGNER]);
        assert_eq!(listed.authenticate(message, &signature(54)), Ok(SIGNER));
        let other = Authenticator::new(AuthMode::Allowlist, [Address::ZERO]);
        assert_eq!(other.authenticate(message, &signature(54)), Err(AuthError::NotAllowed(SIGNER)));
    }
}
