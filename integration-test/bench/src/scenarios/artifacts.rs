//! Large uploads and downloads against the raw path: the same bytes over the same loopback, to and from
//! the same disk, by nothing but a socket and a file.

mod raw;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::{StreamExt, stream};
use hierophant_proto::artifact::ArtifactType;
use network_lib::task;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::requesters;
use crate::observe::Usage;
use crate::report::{Figure, Scenario, mebibytes};
use crate::requester::{Numbers, Requester};
use crate::stage::{Part, Stage};

/// How much is sent at once.
const CHUNK: usize = 256 * 1024;

/// Files that go at once.
const PARALLEL: usize = 64;

pub(super) async fn run(stage: &Stage, found: &mut Scenario) -> Result<()> {
    let size: u64 = stage.scale.pick(1 << 30, 64 << 20, 1 << 20);
    let fresh = stage.launch().await?;
    let mut client = requesters(stage, &fresh.coordinator, 1, &Numbers::default()).await?.remove(0);
    let is_full = size == 1 << 30;
    let wanted = |figure: Figure| if is_full { figure.within(80.0) } else { figure };

    // Each path twice, in turns; the quicker one counts, as the disk's own pace varies.
    let (raw_file, touched) = (stage.root.join("raw"), stage.root.join("touched"));
    let empty = Usage::of(fresh.coordinator.pid()?)?.rss;
    let (mut up, mut raw_up, mut up_memory) = (Duration::MAX, Duration::MAX, 0.0_f64);
    let mut uri = String::new();
    for name in ["upload", "upload again"] {
        raw::touch(&touched, size).await?;
        raw_up = raw_up.min(raw::upload(&raw_file, size).await?);
        raw::touch(&touched, size).await?;
        let part = Part::begin(&fresh.coordinator)?;
        let began = Instant::now();
        uri = client.upload(ArtifactType::Stdin, body(size, 1)).await?;
        up = up.min(began.elapsed());
        let (usage, _) = part.end(name, found)?;
        up_memory = up_memory.max(mebibytes(usage.peak_rss.saturating_sub(empty)));
    }
    found.figure(Figure::gain("upload", pace(size, up), "MiB/s"));
    found.figure(Figure::gain("raw upload", pace(size, raw_up), "MiB/s"));
    found.figure(wanted(Figure::gain("upload against raw", percent(raw_up, up), "%")));

    let (mut down, mut raw_down, mut down_memory) = (Duration::MAX, Duration::MAX, 0.0_f64);
    let empty = Usage::of(fresh.coordinator.pid()?)?.rss;
    for name in ["download", "download again"] {
        raw_down = raw_down.min(raw::download(&raw_file).await?);
        let part = Part::begin(&fresh.coordinator)?;
        let began = Instant::now();
        let (got, digest) = fetch(&stage.http, &uri).await?;
        down = down.min(began.elapsed());
        let (usage, _) = part.end(name, found)?;
        ensure!(got == size && digest == digest_of(size, 1), "other bytes came back");
        down_memory = down_memory.max(mebibytes(usage.peak_rss.saturating_sub(empty)));
    }
    found.figure(Figure::gain("download", pace(size, down), "MiB/s"));
    found.figure(Figure::gain("raw download", pace(size, raw_down), "MiB/s"));
    found.figure(wanted(Figure::gain("download against raw", percent(raw_down, down), "%")));
    let most = Figure::cost("memory above before, up or down", up_memory.max(down_memory), "MiB");
    found.figure(if is_full { most.within(32.0) } else { most });
    std::fs::remove_file(&raw_file)?;

    raw::touch(&touched, size).await?;
    many(stage, &client, size / PARALLEL as u64, found, &fresh.coordinator).await?;
    fresh.finish(async |_| Ok(())).await?;
    Ok(())
}

/// Many files up at once, then down at once, each with bytes of its own.
async fn many(
    stage: &Stage,
    client: &Requester,
    size: u64,
    found: &mut Scenario,
    coordinator: &crate::coordinator::Coordinator,
) -> Result<()> {
    let part = Part::begin(coordinator)?;
    let began = Instant::now();
    let uploads = (0..PARALLEL).map(|number| {
        let mut client = client.clone();
        task::spawn("upload", async move {
            client.upload(ArtifactType::Stdin, body(size, 2 + number as u64)).await
        })
    });
    let uploaded = try_join_all(uploads).await?.into_iter().collect::<Result<Vec<_>>>()?;
    let up = began.elapsed();
    let (usage, _) = part.end("64 uploads", found)?;
    let total = size * PARALLEL as u64;
    found.figure(Figure::gain("64 uploads at once", pace(total, up), "MiB/s"));
    found.figure(Figure::cost("peak memory, 64 uploads at once", mebibytes(usage.peak_rss), "MiB"));
    let part = Part::begin(coordinator)?;
    let began = Instant::now();
    let downloads = uploaded.into_iter().map(|uri| {
        let http = stage.http.clone();
        task::spawn("download", async move { fetch(&http, &uri).await })
    });
    let downloaded = try_join_all(downloads).await?.into_iter().collect::<Result<Vec<_>>>()?;
    let down = began.elapsed();
    part.end("64 downloads", found)?;
    for (number, (got, digest)) in (2..).zip(downloaded) {
        ensure!(got == size && digest == digest_of(size, number), "other bytes came back");
    }
    found.figure(Figure::gain("64 downloads at once", pace(total, down), "MiB/s"));
    Ok(())
}

/// A chunk of bytes that look like no others.
fn chunk(seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = (0..CHUNK / 8).flat_map(|_| {
        // xorshift64: quick, and nothing on the way can compress it.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.collect()
}

/// Lengths of the chunks of an upload of this size.
fn lengths(size: u64) -> impl Iterator<Item = usize> {
    let whole = size / CHUNK as u64;
    let rest = (size % CHUNK as u64) as usize;
    (0..whole).map(|_| CHUNK).chain(Some(rest).filter(|rest| *rest > 0))
}

fn body(size: u64, seed: u64) -> reqwest::Body {
    let chunk = chunk(seed);
    let chunks = lengths(size).map(move |length| Ok::<_, std::io::Error>(chunk.slice(..length)));
    reqwest::Body::wrap_stream(stream::iter(chunks))
}

fn digest_of(size: u64, seed: u64) -> [u8; 32] {
    let chunk = chunk(seed);
    let mut hasher = Sha256::new();
    lengths(size).for_each(|length| hasher.update(&chunk[..length]));
    hasher.finalize().into()
}

/// Downloads without keeping anything: how many bytes came, and their digest.
async fn fetch(http: &reqwest::Client, uri: &str) -> Result<(u64, [u8; 32])> {
    let answer = http.get(uri).send().await?;
    let status = answer.status();
    ensure!(status == 200, "a download was answered with {status}");
    let (mut size, mut hasher) = (0, Sha256::new());
    let mut chunks = answer.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.context("a download broke off")?;
        size += chunk.len() as u64;
        hasher.update(&chunk);
    }
    Ok((size, hasher.finalize().into()))
}

fn pace(bytes: u64, took: Duration) -> f64 {
    mebibytes(bytes) / took.as_secs_f64()
}

fn percent(raw: Duration, took: Duration) -> f64 {
    100.0 * raw.as_secs_f64() / took.as_secs_f64()
}
