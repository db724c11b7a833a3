//! A replica's checkpoint: its ads and records at one position in one local file, so that it restarts without asking the
//! journal for all of them. A new one is written beside the old one, synced and renamed over it: there is
//! always a whole one, or none.
//!
//! ```text
//! "PLACARD" · level · version u64 · chain 32 bytes · digest 16 bytes · ads u64 · {length u32 · encoded ad}… ·
//!     records u64 · {kind u8 · length u32 · encoded record}… · crc32 u32
//! ```
//! The level is that which reading it needs, as a digit. One of the levels before records has no records, and no number of
//! them. Numbers are big-endian; the checksum is over all before it.
//! The ads' digest is checked by who loads them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crc32fast::Hasher;
use placard_model::entry::{
    CAPACITY_LEVEL, Chain, Digest, FORMAT_LEVEL_MIN, Position, format_level,
};
use placard_model::records::{EncodedRecord, Kind};
use placard_model::{Encoded, EncodedAd, Undecodable, Version};
use placard_replica::ports::{Checkpoints, Unavailable};
use tokio::sync::{mpsc, oneshot};

use crate::chunk::Chunk;
use crate::directory::{DirLock, DirectoryError, writable};

const FILE: &str = "checkpoint";
const NEXT: &str = "checkpoint.next";
const OLD: &str = "checkpoint.old";
const MAGIC: &[u8; 7] = b"PLACARD";
/// The digit of level 0.
const DIGIT: u8 = b'0';
/// No encoded ad or record is larger; a greater length in a file is damage, and must not be allocated.
const ENCODED_BYTES_MAX: u32 = 1 << 20;
/// Bytes of the checksum, which is behind the ads.
const SUM_BYTES: u64 = size_of::<u32>() as u64;
/// Bytes read and written at once.
const BUFFER: usize = 1 << 20;
/// Bytes that are written before they are synced. What is left to the end would have to be on the disk at once, and the
/// journal's own syncs, if it is on that disk, would wait for all of it.
const SYNC_BYTES: usize = 1 << 20;
/// After each sync the disk is left to others for this many times the sync, and for this long at most.
const PAUSES: u32 = 16;
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// All pauses of a checkpoint together: a state of many millions of ads is written faster.
const PAUSED_MAX: Duration = Duration::from_secs(30);
/// The lowest priority that there is: a checkpoint takes a core for about a second per million ads.
#[cfg(target_os = "linux")]
const NICE_MAX: i32 = 19;

/// The checkpoint of a directory.
#[derive(Debug, Clone)]
pub struct CheckpointFile {
    directory: PathBuf,
    /// Two replicas must not write one file.
    _held: Arc<DirLock>,
}

impl CheckpointFile {
    /// The checkpoint of a directory, which is made if it is missing.
    ///
    /// # Errors
    /// The directory cannot be made, or is in use, or a file in it cannot be written.
    pub fn open(directory: &Path) -> Result<Self, DirectoryError> {
        let held = Arc::new(DirLock::take(directory)?);
        writable(&directory.join(NEXT))?;
        // It is read, and then replaced: that it can be written says that both can be done.
        writable(&directory.join(FILE))?;
        Ok(Self { directory: directory.to_owned(), _held: held })
    }

    /// Returns the file's path in a directory.
    pub fn in_directory(directory: &Path) -> PathBuf {
        directory.join(FILE)
    }

    /// Returns true if there is a checkpoint, whole or not.
    pub fn exists(&self) -> bool {
        self.directory.join(FILE).exists()
    }

    /// The version that it is of, as far as its beginning says; `None` if there is no checkpoint.
    pub fn version(&self) -> Option<Version> {
        let mut file = File::open(self.directory.join(FILE)).ok()?;
        let begins = array(&mut file).ok()? == *MAGIC;
        let [_level] = array(&mut file).ok()?;
        begins.then(|| array(&mut file).ok().map(u64::from_be_bytes)).flatten()
    }

    /// Keeps it under another name, since it is of a journal that is no more. It may be all that is left of that.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn set_aside(&self) -> Result<(), DirectoryError> {
        let file = self.directory.join(FILE);
        match std::fs::rename(&file, self.directory.join(OLD)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(DirectoryError::Unwritable(file, error))
            }
            _ => Ok(()),
        }
    }

    fn save(&self, position: Position, all: &[Encoded]) -> io::Result<()> {
        let next = self.directory.join(NEXT);
        let summed =
            Summed::new(Paced { file: File::create(&next)?, unsynced: 0, paused: Duration::ZERO });
        let mut file = BufWriter::with_capacity(BUFFER, summed);
        let level = all.iter().map(Encoded::level).max().unwrap_or(FORMAT_LEVEL_MIN);
        let is_ad = |one: &&Encoded| matches!(one, Encoded::Ad(_));
        let ads = all.iter().filter(is_ad).count();
        file.write_all(MAGIC)?;
        file.write_all(&[DIGIT.wrapping_add(level)])?;
        file.write_all(&position.version.to_be_bytes())?;
        file.write_all(&position.chain.0)?;
        file.write_all(&position.digest.0.to_be_bytes())?;
        file.write_all(&(ads as u64).to_be_bytes())?;
        for ad in all.iter().filter(is_ad) {
            write(&mut file, ad.bytes())?;
        }
        if level >= CAPACITY_LEVEL {
            file.write_all(&((all.len() - ads) as u64).to_be_bytes())?;
            for one in all {
                if let Encoded::Record(record) = one {
                    file.write_all(&[record.kind().number()])?;
                    write(&mut file, record.bytes())?;
                }
            }
        }
        let Summed { inner: Paced { mut file, .. }, sum } =
            file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.write_all(&sum.finalize().to_be_bytes())?;
        file.sync_all()?;
        std::fs::rename(&next, self.directory.join(FILE))?;
        // The rename is in the directory, and lasts when the directory does.
        File::open(&self.directory)?.sync_all()
    }

    /// Reads the file, sending its ads in chunks; `None` if there is no file.
    fn load(&self, chunks: &mpsc::Sender<Vec<Encoded>>) -> io::Result<Option<Position>> {
        let file = match File::open(self.directory.join(FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        let summed = Summed::new(file.take(length.saturating_sub(SUM_BYTES)));
        let mut file = BufReader::with_capacity(BUFFER, summed);
        if array(&mut file)? != *MAGIC {
            return Err(damaged("it does not begin as a checkpoint does"));
        }
        let [digit] = array(&mut file)?;
        let level = digit.wrapping_sub(DIGIT);
        if level > format_level() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, Undecodable::TooNew(level)));
        }
        let position = Position {
            version: u64::from_be_bytes(array(&mut file)?),
            chain: Chain(array(&mut file)?),
            digest: Digest(u128::from_be_bytes(array(&mut file)?)),
        };
        let mut chunk = Chunk::default();
        let send = |chunk: &mut Chunk| {
            let sent = chunks.blocking_send(chunk.take());
            sent.map_err(|_| damaged("an ad or a record in it cannot be decoded"))
        };
        for _ in 0..u64::from_be_bytes(array(&mut file)?) {
            chunk.push(EncodedAd::from_bytes(read(&mut file)?));
            if chunk.is_full() {
                send(&mut chunk)?;
            }
        }
        if level >= CAPACITY_LEVEL {
            for _ in 0..u64::from_be_bytes(array(&mut file)?) {
                let [kind] = array(&mut file)?;
                let kind = Kind::from_number(kind).ok_or_else(|| damaged("a kind is unknown"))?;
                chunk.push(EncodedRecord::from_bytes(kind, read(&mut file)?));
                if chunk.is_full() {
                    send(&mut chunk)?;
                }
            }
        }
        if !chunk.is_empty() {
            send(&mut chunk)?;
        }
        if !file.fill_buf()?.is_empty() {
            return Err(damaged("there is more in it than its ads and records"));
        }
        let Summed { inner: rest, sum } = file.into_inner();
        if u32::from_be_bytes(array(&mut rest.into_inner())?) != sum.finalize() {
            return Err(damaged("its checksum is another"));
        }
        Ok(Some(position))
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the checkpoint is damaged: {what}"))
}

/// A file that is synced while it is written, and slowly.
struct Paced {
    file: File,
    unsynced: usize,
    /// The pauses so far.
    paused: Duration,
}

impl Write for Paced {
    #[expect(
        clippy::disallowed_methods,
        reason = "it leaves the disk to others for as long as it used it"
    )]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unsynced += written;
        if self.unsynced >= SYNC_BYTES {
            let begun = Instant::now();
            self.file.sync_data()?;
            self.unsynced = 0;
            let pause = (begun.elapsed() * PAUSES).min(PAUSE_MAX);
            let pause = pause.min(PAUSED_MAX.saturating_sub(self.paused));
            thread::sleep(pause);
            self.paused += pause;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Runs work on a thread of its own.
#[expect(clippy::disallowed_methods, reason = "the caller waits for the thread")]
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    thread::Builder::new().name("checkpoint".to_owned()).spawn(move || {
        let _ = done.send(work());
    })?;
    result.await.unwrap_or_else(|_| Err(io::Error::other("it panicked")))
}

/// Has this thread give way to all others from now on.
fn give_way() {
    // On Linux this is the calling thread's priority; elsewhere it is the process'. Without it the work is only less polite.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICE_MAX);
}

/// A file, and the checksum of what has passed.
struct Summed<F> {
    inner: F,
    sum: Hasher,
}

impl<F> Summed<F> {
    fn new(inner: F) -> Self {
        Self { inner, sum: Hasher::new() }
    }
}

impl<F: Write> Write for Summed<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<F: Read> Read for Summed<F> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.sum.update(&bytes[..read]);
        Ok(read)
    }
}

fn array<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn write(file: &mut impl Write, bytes: &Bytes) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    file.write_all(&length.to_be_bytes())?;
    file.write_all(bytes)
}

fn read(file: &mut impl Read) -> io::Result<Bytes> {
    let length = u32::from_be_bytes(array(file)?);
    if length > ENCODED_BYTES_MAX {
        return Err(damaged("an ad or a record in it is too long"));
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes.into())
}

impl Checkpoints for CheckpointFile {
    async fn load(
        &self,
        chunks: mpsc::Sender<Vec<Encoded>>,
    ) -> Result<Option<Position>, Unavailable> {
        const WHAT: &str = "read the checkpoint";
        let file = self.clone();
        let loaded = tokio::task::spawn_blocking(move || file.load(&chunks)).await;
        let loaded = loaded.map_err(|error| Unavailable(WHAT, error.into()))?;
        loaded.map_err(|error| Unavailable(WHAT, error.into()))
    }

    async fn save(
        &self,
        position: Position,
        collect: impl FnOnce() -> Vec<Encoded> + Send + 'static,
    ) -> Result<(), Unavailable> {
        const WHAT: &str = "write the checkpoint";
        let file = self.clone();
        let saved = on_a_thread(move || {
            // At the usual priority: the writer of the ads may have to wait for a part of them that is being read.
            let all = collect();
            give_way();
            file.save(position, &all)
        })
        .await;
        saved.map_err(|error| Unavailable(WHAT, error.into()))
    }
}
