//! The image of the stand-in: the program and the libraries that it is linked with, nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::engine::Engine;

/// Its name in the engine.
pub(crate) const NAME: &str = "gpu-stand-in:test";

/// The same with SP1's own prover on the CPU.
pub(crate) const REAL: &str = "gpu-stand-in:real";

/// Makes the images.
pub(crate) async fn provide(engine: &Engine) -> Result<()> {
    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    let program = own.with_file_name("gpu-stand-in");
    ensure!(program.is_file(), "{} is missing: build the workspace first", program.display());
    let root = engine.folder().join("root");
    place(&program, &root.join("gpu-stand-in"))?;
    for library in libraries(&program)? {
        place(&library, &root.join(library.strip_prefix("/")?))?;
    }
    std::fs::create_dir_all(root.join("tmp"))?;
    let archive = engine.folder().join("image.tar");
    let packed =
        Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").status();
    ensure!(packed.context("cannot run tar")?.success(), "tar has failed");
    let path = archive.to_str().context("no UTF-8 path")?;
    for (name, arguments) in [(NAME, ""), (REAL, ", \"--prover\", \"cpu\"")] {
        let entry = format!("ENTRYPOINT [\"/gpu-stand-in\"{arguments}]");
        engine.docker(&["import", "--change", &entry, path, name]).await?;
    }
    Ok(())
}

fn place(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// Paths of the shared libraries, the loader included.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(PathBuf::from).collect())
}
