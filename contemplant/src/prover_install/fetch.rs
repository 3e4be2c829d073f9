//! `contemplant prover fetch`: installs the released program, without compiling anything.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{anyhow, bail};
use network_lib::ids::Sha256Digest;
use sp1_primitives::SP1_CRATE_VERSION;

use super::archive::{self, UnpackError};
use super::download::{DownloadError, Part, download};
use super::{fault, place, program, release};

/// A fetch of the program.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// Folder of the program.
    pub folder: PathBuf,
    /// Address of the archive. Default: the release that SP1's SDK downloads.
    pub url: Option<String>,
    /// SHA-256 of the archive. Needed where this Contemplant does not know it.
    pub sha256: Option<Sha256Digest>,
    /// First pause after an interruption of the download.
    pub first_pause: Duration,
}

impl Fetch {
    /// A fetch of the release into `folder`.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, url: None, sha256: None, first_pause: Duration::from_secs(2) }
    }

    /// Installs the program and returns its path. `report` receives what is being done.
    ///
    /// A program of the right version that is there already is left alone.
    ///
    /// # Errors
    ///
    /// What went wrong, with the remedy. A program that was there is unchanged, and no other file is left, except for the
    /// beginning of an interrupted download, which the next call continues.
    pub async fn run(&self, mut report: impl FnMut(&str)) -> anyhow::Result<PathBuf> {
        let folder = &self.folder;
        let target = folder.join(program::NAME);
        if target.is_file() && program::check_version(&target).await.is_ok() {
            report(&format!("{} has version {SP1_CRATE_VERSION} already", target.display()));
            return Ok(target);
        }
        let expected = self.expected(release::digest())?;
        let url = self.address()?;
        std::fs::create_dir_all(folder).map_err(|error| fault::write(error, folder))?;
        let part = Part::open(folder, &release::archive())?;
        report(&format!("fetching {url}"));
        let fetched = self.archive(&url, expected, &part, &mut report).await;
        // Only an interrupted download is of use to the next call.
        if let Err(error @ DownloadError::Interrupted(_)) = fetched {
            part.keep();
            return Err(error.into());
        }
        let installed = match fetched {
            Ok(()) => {
                report("its SHA-256 is right, unpacking");
                install(&url, part.path().to_owned(), folder, &target).await
            }
            Err(error) => Err(error.into()),
        };
        part.discard();
        installed.map(|()| target)
    }

    /// The digest that the archive must have; `known` is the one in this Contemplant.
    fn expected(&self, known: Option<Sha256Digest>) -> anyhow::Result<Sha256Digest> {
        match (known, self.sha256) {
            (Some(known), Some(stated)) if known != stated => {
                bail!(
                    "--sha256 is {stated}: expected {known}, the digest of the release, or no --sha256"
                )
            }
            (Some(digest), _) | (None, Some(digest)) => Ok(digest),
            (None, None) => bail!(
                "the SHA-256 of {} is not known to this Contemplant: expected --sha256 HEX, as shown beside the \
                 file at https://github.com/succinctlabs/sp1/releases/tag/v{SP1_CRATE_VERSION}",
                release::archive()
            ),
        }
    }

    fn address(&self) -> anyhow::Result<String> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }
        let here = std::env::consts::ARCH;
        if here != release::ARCHITECTURE {
            bail!(
                "the release is for {}: expected such a machine, this one is {here}; build the server with \
                 `contemplant prover build`",
                release::ARCHITECTURE
            );
        }
        Ok(release::address())
    }

    /// Downloads the archive into `part` and verifies its digest.
    async fn archive(
        &self,
        url: &str,
        expected: Sha256Digest,
        part: &Part,
        report: &mut impl FnMut(&str),
    ) -> Result<(), DownloadError> {
        let mut is_restarted = false;
        loop {
            let is_continued = download(url, part, self.first_pause, report).await?;
            let found = part.digest().await.map_err(DownloadError::Final)?;
            if found == expected {
                return Ok(());
            }
            // The file may have been replaced between two parts.
            if is_continued && !is_restarted {
                report("the SHA-256 of the continued download is wrong, starting over");
                is_restarted = true;
                part.restart().map_err(DownloadError::Final)?;
                continue;
            }
            return Err(DownloadError::Final(anyhow!(
                "the SHA-256 of {url} is {found}: expected {expected}; nothing was installed. The file was replaced or \
                 altered on its way, or --sha256 is wrong: compare both with the release"
            )));
        }
    }
}

/// Unpacks the program and installs it as `target` in `folder`.
async fn install(url: &str, archive: PathBuf, folder: &Path, target: &Path) -> anyhow::Result<()> {
    let (mut file, path) = place::temporary(folder)?;
    let unpacked = tokio::task::spawn_blocking(move || archive::unpack(&archive, &mut file));
    unpacked.await?.map_err(|error| match error {
        UnpackError::Write(error) => fault::write(error, folder),
        UnpackError::Archive(reason) => {
            anyhow!("the archive {url} is not the expected one: {reason}; nothing was installed")
        }
    })?;
    place::place(path, target).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn with(sha256: Option<Sha256Digest>) -> Fetch {
        Fetch { sha256, ..Fetch::new("/srv/bin".into()) }
    }

    #[test]
    fn a_digest_is_required_and_a_known_one_cannot_be_replaced() {
        let (known, other) = (Sha256Digest([1; 32]), Sha256Digest([2; 32]));
        let reason = with(None).expected(None).unwrap_err().to_string();
        assert!(reason.contains("expected --sha256 HEX"), "{reason}");
        assert_eq!(with(Some(other)).expected(None).unwrap(), other);
        assert_eq!(with(None).expected(Some(known)).unwrap(), known);
        assert_eq!(with(Some(known)).expected(Some(known)).unwrap(), known);
        let reason = with(Some(other)).expected(Some(known)).unwrap_err().to_string();
        assert!(reason.contains(&known.to_string()), "{reason}");
    }
}
