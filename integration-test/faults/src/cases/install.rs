//! Installing the GPU server on a disk that fills up.

use std::path::Path;
use std::process::Stdio;

use flate2::Compression;
use flate2::write::GzEncoder;
use network_lib::ids::Sha256Digest;
use network_lib::task;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::timeout;

use crate::case::{Case, case};
use crate::stage::{STEP, Stage};

/// The program that is installed.
const PROGRAM: &str = "sp1-gpu-server";

/// Size of the program, more than a small disk holds.
const SIZE: usize = 3 << 20;

/// Sizes of disks.
const SMALL: &str = "1m";
const LARGE: &str = "64m";

/// Run in a mount namespace of its own: the folder `$1` on a disk of the size `$2`, with an older program, in which the
/// rest of the arguments is run as a command. Then the names and the first two lines of what is there are printed.
const ON_A_DISK: &str = r#"
folder=$1; mount -t tmpfs -o "size=$2" tmpfs "$folder"; shift 2
printf '#!/bin/sh\necho 0.0.1\n' >"$folder/sp1-gpu-server"; chmod 755 "$folder/sp1-gpu-server"
status=0; "$@" || status=$?
ls -A "$folder"; sed -n 2p "$folder/sp1-gpu-server"
exit "$status"
"#;

/// The group.
#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!("install", "gpu-server-on-a-full-disk", "`contemplant prover fetch` on a disk that is full at each step: a remedy, the old GPU server unchanged, nothing beside it", full_disk),
    ]
}

async fn full_disk(stage: &mut Stage) {
    stage.fault_begins();
    // A program of another version, from which the expected one is learnt.
    let reason = refused(stage, &packed("0.0.2", false), LARGE).await;
    let (_, rest) = reason.split_once("expected ").expect("the expected version");
    let version = rest.split(';').next().expect("a version").to_owned();
    assert!(reason.contains("nothing was installed"), "{reason}");
    // The archive does not fit; it fits, and the program in it does not.
    let reason = refused(stage, &packed(&version, true), SMALL).await;
    assert!(reason.contains("make room"), "{reason}");
    let reason = refused(stage, &packed(&version, false), SMALL).await;
    assert!(reason.contains("is full") && reason.contains("make room"), "{reason}");

    let (succeeded, found, reason) = fetched(stage, &packed(&version, false), LARGE).await;
    assert!(succeeded, "{reason}");
    assert!(found.ends_with(&format!("{PROGRAM}\necho {version}\n")), "{found}");
    stage.recovers();
    stage.note("nothing: no request is concerned");
}

/// The reason why the program in `archive` is not installed on a disk of this size. The old one must be as it was.
async fn refused(stage: &Stage, archive: &[u8], size: &str) -> String {
    let (succeeded, found, reason) = fetched(stage, archive, size).await;
    assert!(!succeeded, "it was installed: {found}");
    assert!(found.ends_with(&format!("{PROGRAM}\necho 0.0.1\n")), "{found}");
    let others = found.lines().filter(|line| line.starts_with('.')).count();
    assert_eq!(others, 0, "{found}");
    reason
}

/// Fetches the program in `archive` to a disk of this size: whether it succeeded, what it printed and what was there then, and
/// its error.
async fn fetched(stage: &Stage, archive: &[u8], size: &str) -> (bool, String, String) {
    let url = serve(archive.to_vec()).await;
    let digest = Sha256Digest(Sha256::digest(archive).into());
    let folder = stage.folder().join("programs");
    std::fs::create_dir_all(&folder).expect("created");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-ec", ON_A_DISK, "sh"])
        .args([folder.as_path(), Path::new(size), &stage.kit.binaries.contemplant])
        .args(["prover", "fetch", "--url", &url, "--sha256", &digest.to_string(), "--to"])
        .arg(&folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(STEP, output).await.expect("in time").expect("unshare can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// An archive with a program that prints `version`. Either it is about as large as the program, or much smaller.
fn packed(version: &str, is_large: bool) -> Vec<u8> {
    let mut program = format!("#!/bin/sh\necho {version}\nexit\n").into_bytes();
    let mut number = 0_u64;
    while program.len() < SIZE {
        match is_large {
            true => program.extend(Sha256::digest(number.to_le_bytes())),
            false => program.extend([b'#'; 32]),
        }
        number += 1;
    }
    let gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let mut archive = tar::Builder::new(gzip);
    let mut header = tar::Header::new_gnu();
    header.set_size(program.len() as u64);
    header.set_mode(0o755);
    archive.append_data(&mut header, PROGRAM, program.as_slice()).expect("packed");
    archive.into_inner().and_then(GzEncoder::finish).expect("packed")
}

/// Serves one file; returns its address.
async fn serve(file: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let url = format!("http://{}/archive", listener.local_addr().expect("bound"));
    task::spawn("file server", async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.expect("a request"));
        }
        let length = file.len();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        // A file that does not fit is not read to its end.
        let _ = socket.write_all(&[head.as_bytes(), &file].concat()).await;
        let _ = socket.shutdown().await;
    });
    url
}
