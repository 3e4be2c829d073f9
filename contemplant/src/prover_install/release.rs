//! The release of the prover server that SP1's own SDK downloads.

use network_lib::ids::Sha256Digest;
use sp1_primitives::SP1_CRATE_VERSION;

/// Where SP1's releases are.
const RELEASES: &str = "https://github.com/succinctlabs/sp1/releases/download";

/// The processor architecture of the released program.
pub(super) const ARCHITECTURE: &str = "x86_64";

/// SHA-256 of the released archive, by SP1 version. A digest is entered only once it was read at the release itself;
/// until then the operator has to state it.
const DIGESTS: &[(&str, Option<&str>)] = &[("6.10.0", None)];

/// Name of the archive.
pub(super) fn archive() -> String {
    format!("sp1_gpu_server_v{SP1_CRATE_VERSION}_{ARCHITECTURE}.tar.gz")
}

/// Address of the archive.
pub(super) fn address() -> String {
    format!("{RELEASES}/v{SP1_CRATE_VERSION}/{}", archive())
}

/// The digest that is known for the archive, if any.
pub(super) fn digest() -> Option<Sha256Digest> {
    let (_, digest) = DIGESTS.iter().find(|(version, _)| *version == SP1_CRATE_VERSION)?;
    digest.and_then(|digest| digest.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_that_of_sp1_s_sdk() {
        let path = "v6.10.0/sp1_gpu_server_v6.10.0_x86_64.tar.gz";
        let wanted = format!("https://github.com/succinctlabs/sp1/releases/download/{path}");
        assert_eq!(address(), wanted);
    }

    #[test]
    fn the_table_has_a_line_for_this_version_and_only_valid_digests() {
        assert!(DIGESTS.iter().any(|(version, _)| *version == SP1_CRATE_VERSION));
        for (version, digest) in DIGESTS {
            let valid = digest.is_none_or(|digest| digest.parse::<Sha256Digest>().is_ok());
            assert!(valid, "{version}: {digest:?}");
        }
    }
}
