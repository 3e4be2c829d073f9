//! Images of the programs: a program and the libraries that it is linked with, nothing else. The base images of the
//! Dockerfiles need a registry; everything else that a Dockerfile says of its image is taken from it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use test_harness::binaries::{Binaries, Program};

use crate::dockerfile;
use crate::engine::Engine;

/// Its name in the engine.
pub(crate) const NAME: &str = "gpu-stand-in:test";

/// The same with SP1's own prover on the CPU.
pub(crate) const REAL: &str = "gpu-stand-in:real";

/// User and group of the shipped images.
const USER: u32 = 10001;

/// Docker's own init program, which is tini.
const INIT: &str = "/usr/bin/docker-init";

/// Makes the images of the stand-in.
pub(crate) async fn provide(engine: &Engine) -> Result<()> {
    let root = engine.folder().join("root");
    fill(&root, &Program::GpuStandIn.locate()?, "gpu-stand-in")?;
    for (name, arguments) in [(NAME, ""), (REAL, ", \"--prover\", \"cpu\"")] {
        let entry = format!("ENTRYPOINT [\"/gpu-stand-in\"{arguments}]");
        import(engine, &root, &[entry], name).await?;
    }
    Ok(())
}

/// Makes the coordinator's image, `hierophant`.
pub(crate) async fn provide_hierophant(engine: &Engine) -> Result<()> {
    let programs = [(Binaries::locate()?.hierophant, "usr/local/bin/hierophant")];
    let file = include_str!("../../../hierophant/docker/hierophant.Dockerfile");
    shipped(engine, "hierophant", file, &programs, "var/lib/hierophant").await
}

/// Makes the worker's image, `contemplant`.
pub(crate) async fn provide_contemplant(engine: &Engine) -> Result<()> {
    // With a shell, because the worker runs a script to see whether programs can be run in a folder.
    let programs = [
        (Binaries::locate()?.contemplant, "usr/local/bin/contemplant"),
        (PathBuf::from("/bin/sh"), "bin/sh"),
        (PathBuf::from(INIT), "usr/bin/tini"),
    ];
    let file = include_str!("../../../contemplant/docker/contemplant.Dockerfile");
    shipped(engine, "contemplant", file, &programs, "var/lib/contemplant").await
}

/// Makes the image with both programs, `contemplant-cuda`, with the stand-in as SP1's server.
pub(crate) async fn provide_contemplant_cuda(engine: &Engine) -> Result<()> {
    let programs = [
        (Binaries::locate()?.contemplant, "usr/local/bin/contemplant"),
        (Program::GpuStandIn.locate()?, "usr/local/bin/sp1-gpu-server"),
        (PathBuf::from("/bin/sh"), "bin/sh"),
        (PathBuf::from(INIT), "usr/bin/tini"),
    ];
    let file = include_str!("../../../contemplant/docker/contemplant-cuda.Dockerfile");
    shipped(engine, "contemplant-cuda", file, &programs, "data").await
}

/// Makes the image `name` with the settings of a Dockerfile, these programs, and the folder `data` of its user.
async fn shipped(
    engine: &Engine,
    name: &str,
    dockerfile: &str,
    programs: &[(PathBuf, &str)],
    data: &str,
) -> Result<()> {
    let root = engine.folder().join(format!("{name}-root"));
    for (program, path) in programs {
        fill(&root, program, path)?;
    }
    let data = root.join(data);
    std::fs::create_dir_all(&data)?;
    std::os::unix::fs::chown(&data, Some(USER), Some(USER))?;
    import(engine, &root, &dockerfile::settings(dockerfile), name).await
}

/// Puts `program` with its libraries into the file system at `root`, as `path`.
fn fill(root: &Path, program: &Path, path: &str) -> Result<()> {
    place(program, &root.join(path))?;
    for library in libraries(program)? {
        place(&library, &root.join(library.strip_prefix("/")?))?;
    }
    // As in every base image: some engines give a tmpfs the mode of the folder below it.
    let temp = root.join("tmp");
    std::fs::create_dir_all(&temp)?;
    Ok(std::fs::set_permissions(&temp, Permissions::from_mode(0o1777))?)
}

/// Imports the file system at `root` as the image `name`.
async fn import(engine: &Engine, root: &Path, changes: &[String], name: &str) -> Result<()> {
    let archive = engine.folder().join("image.tar");
    let packed = Command::new("tar").arg("-C").arg(root).arg("-cf").arg(&archive).arg(".").status();
    ensure!(packed.context("cannot run tar")?.success(), "tar has failed");
    let path = archive.to_str().context("no UTF-8 path")?;
    let changes = changes.iter().flat_map(|change| ["--change", change.as_str()]);
    let arguments: Vec<&str> = ["import"].into_iter().chain(changes).chain([path, name]).collect();
    engine.docker(&arguments).await.map(drop)
}

fn place(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// Paths of the shared libraries, the loader included. A static program has none.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(PathBuf::from).collect())
}
