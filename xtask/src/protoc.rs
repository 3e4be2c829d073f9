//! Providing the protobuf compiler.
//!
//! A build script deep inside SP1 runs `protoc`. It comes here as an ordinary dependency of this
//! crate, and `.cargo/protoc.toml`, which cargo's configuration includes if it is there, names it to every
//! build. The path stays valid as long as the compiler lies there. Without that
//! file builds get `protoc-help`, a script beside this crate's manifest that says what to do: a build
//! script of our own would run too late, cargo does the crates that most others wait for first.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Variable that names the compiler to builds.
pub(crate) const VARIABLE: &str = "PROTOC";

/// The script that builds run where there is no compiler.
const STAND_IN: &str = "xtask/protoc-help";

/// The compiler that the steps will use.
#[derive(Debug)]
pub(crate) struct Protoc {
    /// Where it lies, and why it is this one.
    pub(crate) description: String,
    /// Whether the steps must not inherit `PROTOC`: it would win over the file.
    pub(crate) from_file: bool,
}

/// Writes the file, unless the user names a compiler of his own or the file is fine already.
pub(crate) fn set_up(root: &Path) -> Result<Protoc> {
    let configured = configured(root);
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    // Cargo itself sets the variable from the file, or to the script, when it starts this program.
    let is_own = |named: &PathBuf| Some(named) != configured.as_ref() && !named.ends_with(STAND_IN);
    if let Some(own) = named.filter(is_own) {
        if !own.exists() {
            bail!("the variable {VARIABLE} names {}, which does not exist", own.display());
        }
        let description = format!("{}, as {VARIABLE} says", own.display());
        return Ok(Protoc { description, from_file: false });
    }
    let description = match configured {
        Some(known) if known.exists() => known.display().to_string(),
        _ => write_file(root)?,
    };
    Ok(Protoc { description, from_file: true })
}

fn write_file(root: &Path) -> Result<String> {
    let provided = protoc_bin_vendored::protoc_bin_path()
        .context("there is no ready-made one for this kind of machine; install protoc")?;
    let file = file(root);
    // A path needs the same escapes in TOML as in Rust's debug format.
    let text = format!("[env]\n{VARIABLE} = {{ value = {provided:?}, relative = false }}\n");
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(format!("{}, now named in {}", provided.display(), file.display()))
}

fn file(root: &Path) -> PathBuf {
    root.join(".cargo").join("protoc.toml")
}

/// The path that the file names. The file is ours alone, so looking for its one line is enough.
fn configured(root: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(file(root)).ok()?;
    let (_, value) = text.split_once("{ value = \"")?;
    let (path, _) = value.split_once('"')?;
    Some(PathBuf::from(path))
}
