//! `contemplant prover fetch` against a server that the test plays.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contemplant::prover_install::fetch::Fetch;
use flate2::Compression;
use flate2::write::GzEncoder;
use network_lib::ids::Sha256Digest;
use network_lib::task;
use sha2::{Digest, Sha256};
use sp1_primitives::SP1_CRATE_VERSION;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The program's name.
const PROGRAM: &str = "sp1-gpu-server";

/// A server of one file, whose answers the test decides.
struct Server {
    url: String,
    /// The heads of the requests.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `answer` makes the response from the request's number and the position that it asks for.
    async fn start(answer: impl Fn(usize, usize) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/server.tar.gz", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let heads = Arc::clone(&requests);
        task::spawn("file server", async move {
            for number in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap().to_lowercase();
                let range = head.split_once("range: bytes=").map(|(_, range)| range);
                let start =
                    range.map_or(0, |range| range.split('-').next().unwrap().parse().unwrap());
                heads.lock().unwrap().push(head);
                let _ = stream.write_all(&answer(number, start)).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { url, requests }
    }

    /// One that has `file` and continues where it is asked to.
    async fn of(file: Vec<u8>) -> Self {
        Self::start(move |_, start| whole(&file, start)).await
    }

    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

/// The response with `file` from `start` on, of which the first `sent` bytes are sent.
fn response(file: &[u8], start: usize, sent: usize) -> Vec<u8> {
    let (status, last) =
        (if start == 0 { "200 OK" } else { "206 Partial Content" }, file.len() - 1);
    let range = format!("content-range: bytes {start}-{last}/{}\r\n", file.len());
    let length = file.len() - start;
    let head = format!(
        "HTTP/1.1 {status}\r\n{range}content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    [head.as_bytes(), &file[start..start + sent]].concat()
}

fn whole(file: &[u8], start: usize) -> Vec<u8> {
    response(file, start, file.len() - start)
}

/// A program that prints `version`.
fn program(version: &str) -> Vec<u8> {
    format!("#!/bin/sh\necho {version}\n").into_bytes()
}

/// An archive of these members.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, contents) in members {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append(&header, *contents).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

/// The archive of a release with the right program.
fn release() -> Vec<u8> {
    archive(&[("sp1-gpu-server", &program(SP1_CRATE_VERSION))])
}

fn digest(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest(Sha256::digest(bytes).into())
}

/// A folder with a program of an older version.
fn installed() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join(PROGRAM), program("6.0.0")).unwrap();
    fs::set_permissions(bin.join(PROGRAM), fs::Permissions::from_mode(0o755)).unwrap();
    (folder, bin)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn fetch(folder: &Path, server: &Server, sha256: Sha256Digest) -> Result<PathBuf, String> {
    let url = Some(server.url.clone());
    let first_pause = Duration::from_millis(1);
    let fetch = Fetch { url, sha256: Some(sha256), first_pause, ..Fetch::new(folder.to_owned()) };
    fetch.run(|_| {}).await.map_err(|error| format!("{error:#}"))
}

/// Fails, says `words`, and leaves the old program as it was, and nothing else.
async fn fails(server: &Server, sha256: Sha256Digest, words: &[&str]) {
    let (_folder, bin) = installed();
    let reason = fetch(&bin, server, sha256).await.unwrap_err();
    for word in words {
        assert!(reason.contains(word), "\"{word}\" in: {reason}");
    }
    assert_eq!(names(&bin), [PROGRAM]);
    assert_eq!(fs::read(bin.join(PROGRAM)).unwrap(), program("6.0.0"));
}

#[tokio::test]
async fn the_release_replaces_an_older_program() {
    let file = release();
    let server = Server::of(file.clone()).await;
    let (_folder, bin) = installed();
    let path = fetch(&bin, &server, digest(&file)).await.unwrap();
    assert_eq!(path, bin.join(PROGRAM));
    assert_eq!(names(&bin), [PROGRAM]);
    assert_eq!(fs::read(&path).unwrap(), program(SP1_CRATE_VERSION));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);

    fetch(&bin, &server, digest(&file)).await.unwrap();
    assert_eq!(server.count(), 1, "a program of the right version is not fetched again");
}

#[tokio::test]
async fn a_folder_is_created_and_other_members_are_not_unpacked() {
    let evil: (&str, &[u8]) = ("../evil", b"x");
    let file =
        archive(&[evil, ("README", b"x"), ("./sp1-gpu-server", &program(SP1_CRATE_VERSION))]);
    let server = Server::of(file.clone()).await;
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("data/bin");
    fetch(&bin, &server, digest(&file)).await.unwrap();
    assert_eq!(names(&bin), [PROGRAM]);
    assert_eq!(names(&folder.path().join("data")), ["bin"]);
}

#[tokio::test]
async fn a_wrong_digest_is_refused_with_the_one_that_was_found() {
    let file = release();
    let server = Server::of(file.clone()).await;
    let (found, expected) = (digest(&file), Sha256Digest([7; 32]));
    fails(&server, expected, &[&found.to_string(), &format!("expected {expected}")]).await;
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_program_of_another_version_is_refused() {
    let file = archive(&[("sp1-gpu-server", &program("6.2.0"))]);
    let server = Server::of(file.clone()).await;
    let expected = format!("prints \"6.2.0\": expected {SP1_CRATE_VERSION}; nothing was installed");
    fails(&server, digest(&file), &[&expected]).await;
}

#[tokio::test]
async fn a_program_that_cannot_be_run_is_refused_with_its_message() {
    let broken =
        b"#!/bin/sh\necho 'libcudart.so.12: cannot open shared object file' >&2\nexit 127\n";
    let file = archive(&[("sp1-gpu-server", broken)]);
    let server = Server::of(file.clone()).await;
    fails(&server, digest(&file), &["libcudart.so.12: cannot open", "a library of CUDA's runtime"])
        .await;
}

#[tokio::test]
async fn an_archive_without_the_program_is_refused() {
    let file = archive(&[("README", b"text"), ("../sp1-gpu-server", &program(SP1_CRATE_VERSION))]);
    let server = Server::of(file.clone()).await;
    fails(&server, digest(&file), &["it has no file sp1-gpu-server"]).await;
}

#[tokio::test]
async fn an_answer_that_is_not_the_file_is_refused() {
    let missing = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let server = Server::start(|_, _| missing.to_vec()).await;
    fails(&server, Sha256Digest([7; 32]), &["does not exist", "contemplant prover build"]).await;
    let huge = b"HTTP/1.1 200 OK\r\ncontent-length: 5000000000\r\nconnection: close\r\n\r\n";
    let server = Server::start(|_, _| huge.to_vec()).await;
    fails(&server, Sha256Digest([7; 32]), &["larger than 4096 MiB"]).await;
}

#[tokio::test]
async fn a_server_that_stays_out_of_order_leaves_nothing() {
    let busy =
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let server = Server::start(|_, _| busy.to_vec()).await;
    fails(&server, Sha256Digest([7; 32]), &["interrupted 6 times", "HTTP 503"]).await;
    assert_eq!(server.count(), 6);
}

#[tokio::test]
async fn an_interrupted_download_is_continued_where_it_ended() {
    let file = release();
    let (half, served) = (file.len() / 2, file.clone());
    let server = Server::start(move |number, start| match number {
        0 => response(&served, start, half),
        _ => whole(&served, start),
    })
    .await;
    let (_folder, bin) = installed();
    fetch(&bin, &server, digest(&file)).await.unwrap();
    let requests = server.requests.lock().unwrap();
    assert_eq!(requests.len(), 2);
    assert!(requests[1].contains(&format!("range: bytes={half}-")), "{}", requests[1]);
    assert_eq!(names(&bin), [PROGRAM]);
}

#[tokio::test]
async fn a_download_that_stays_interrupted_is_continued_by_the_next_call() {
    let file = release();
    let (half, served) = (file.len() / 2, file.clone());
    let server = Server::start(move |number, start| match number {
        0 => response(&served, start, half),
        _ => response(&served, start, 0),
    })
    .await;
    let (_folder, bin) = installed();
    let reason = fetch(&bin, &server, digest(&file)).await.unwrap_err();
    assert!(reason.contains("run this command again"), "{reason}");
    assert_eq!(fs::read(bin.join(PROGRAM)).unwrap(), program("6.0.0"));

    let server = Server::of(file.clone()).await;
    fetch(&bin, &server, digest(&file)).await.unwrap();
    assert!(server.requests.lock().unwrap()[0].contains(&format!("range: bytes={half}-")));
    assert_eq!(fs::read(bin.join(PROGRAM)).unwrap(), program(SP1_CRATE_VERSION));
    assert_eq!(names(&bin), [PROGRAM]);
}

#[tokio::test]
async fn parts_of_different_files_are_not_put_together() {
    let file = release();
    let (_folder, bin) = installed();
    let name = format!(".sp1_gpu_server_v{SP1_CRATE_VERSION}_x86_64.tar.gz.part");
    // What an earlier call has left of another file.
    fs::write(bin.join(&name), vec![7; file.len() / 2]).unwrap();
    let server = Server::of(file.clone()).await;
    fetch(&bin, &server, digest(&file)).await.unwrap();
    assert_eq!(server.count(), 2);
    assert_eq!(names(&bin), [PROGRAM]);

    // A server that knows no ranges sends the whole file.
    let (_folder, bin) = installed();
    fs::write(bin.join(&name), vec![7; file.len() / 2]).unwrap();
    let served = file.clone();
    let server = Server::start(move |_, _| whole(&served, 0)).await;
    fetch(&bin, &server, digest(&file)).await.unwrap();
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_full_disk_is_named_and_nothing_is_left() {
    let file = release();
    let server = Server::of(file.clone()).await;
    let (_folder, bin) = installed();
    // Every write to it fails as on a full disk.
    let name = format!(".sp1_gpu_server_v{SP1_CRATE_VERSION}_x86_64.tar.gz.part");
    symlink("/dev/full", bin.join(name)).unwrap();
    let reason = fetch(&bin, &server, digest(&file)).await.unwrap_err();
    assert!(reason.contains("is full") && reason.contains("make room"), "{reason}");
    assert_eq!(names(&bin), [PROGRAM]);
    assert_eq!(fs::read(bin.join(PROGRAM)).unwrap(), program("6.0.0"));
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named() {
    let server = Server::of(release()).await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let bin = folder.path().join("file/bin");
    let reason = fetch(&bin, &server, digest(&release())).await.unwrap_err();
    assert!(reason.contains(&*bin.to_string_lossy()) && reason.contains("--to"), "{reason}");
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn two_fetches_do_not_write_to_one_file() {
    let file = release();
    let server = Server::of(file.clone()).await;
    let (_folder, bin) = installed();
    let name = format!(".sp1_gpu_server_v{SP1_CRATE_VERSION}_x86_64.tar.gz.part");
    let other = fs::File::create(bin.join(name)).unwrap();
    other.lock().unwrap();
    let reason = fetch(&bin, &server, digest(&file)).await.unwrap_err();
    assert!(reason.contains("another process downloads"), "{reason}");
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn without_a_digest_nothing_is_fetched() {
    let server = Server::of(release()).await;
    let (_folder, bin) = installed();
    let fetch = Fetch { url: Some(server.url.clone()), ..Fetch::new(bin.clone()) };
    let reason = fetch.run(|_| {}).await.unwrap_err().to_string();
    assert!(reason.contains("expected --sha256 HEX"), "{reason}");
    assert_eq!(server.count(), 0);
    assert_eq!(names(&bin), [PROGRAM]);
}
