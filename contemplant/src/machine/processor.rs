//! The processor, and whether the build uses it.

use network_lib::processor::Build;

use super::Finding;

const WHAT: &str = "processor";

/// The check of `build` on a machine that could run `fastest`.
pub(super) fn judge(build: Build, fastest: Build, proves_here: bool) -> Finding {
    if build >= fastest {
        return Finding::passed(WHAT, format!("{build} build"));
    }
    let text = format!("{build} build, and this machine has {fastest}");
    if build > Build::Portable || !proves_here {
        return Finding::passed(WHAT, text);
    }
    Finding::warning(
        WHAT,
        format!(
            "{text}: a build from source on this machine proves in about half of the processor time"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Verdict;

    #[test]
    fn a_portable_build_on_a_newer_processor_is_a_warning_where_proofs_are_made() {
        let verdict = |build, fastest, here| judge(build, fastest, here).verdict;
        assert_eq!(verdict(Build::Portable, Build::Portable, true), Verdict::Passed);
        assert_eq!(verdict(Build::Portable, Build::Avx2, true), Verdict::Warning);
        assert_eq!(verdict(Build::Portable, Build::Avx2, false), Verdict::Passed);
        assert_eq!(verdict(Build::Avx2, Build::Avx512, true), Verdict::Passed);
        let text = judge(Build::Portable, Build::Avx512, true).text;
        assert!(text.starts_with("portable build, and this machine has AVX-512"), "{text}");
    }
}
