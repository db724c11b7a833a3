//! A replica's checkpoint: its ads at one position in one local file, so that it restarts without asking the
//! journal for all of them. A new one is written beside the old one, synced and renamed over it: there is
//! always a whole one, or none.
//!
//! ```text
//! "PLACARD1" · version u64 · chain 32 bytes · digest 16 bytes · ads u64 · {length u32 · encoded ad}… · crc32 u32
//! ```
//! Numbers are big-endian; the checksum is over all before it. The ads' digest is checked by who loads them.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc32fast::Hasher;
use placard_model::EncodedAd;
use placard_model::entry::{Chain, Digest, Position};
use placard_replica::ports::{Checkpoints, Unavailable};
use tokio::sync::mpsc;

use crate::directory::{DirectoryError, Held};

const FILE: &str = "checkpoint";
const NEXT: &str = "checkpoint.next";
const MAGIC: &[u8; 8] = b"PLACARD1";
/// Ads in one chunk of a load.
const CHUNK: usize = 1_024;
/// No encoded ad is larger; a greater length in a file is damage, and must not be allocated.
const AD_BYTES_MAX: u32 = 1 << 20;
/// Bytes read and written at once.
const BUFFER: usize = 1 << 20;

/// The checkpoint of a directory.
#[derive(Debug, Clone)]
pub struct CheckpointFile {
    directory: PathBuf,
    /// Two replicas must not write one file.
    _held: Arc<Held>,
}

impl CheckpointFile {
    /// The checkpoint of a directory, which is made if it is missing.
    ///
    /// # Errors
    /// The directory cannot be made, or is in use.
    pub fn open(directory: &Path) -> Result<Self, DirectoryError> {
        let held = Arc::new(Held::take(directory)?);
        Ok(Self { directory: directory.to_owned(), _held: held })
    }

    /// Whether there is one, whole or not.
    pub fn exists(&self) -> bool {
        self.directory.join(FILE).exists()
    }

    fn save(&self, position: Position, ads: &[EncodedAd]) -> io::Result<()> {
        let next = self.directory.join(NEXT);
        let mut file = Summed::new(BufWriter::with_capacity(BUFFER, File::create(&next)?));
        file.write(MAGIC)?;
        file.write(&position.version.to_be_bytes())?;
        file.write(&position.chain.0)?;
        file.write(&position.digest.0.to_be_bytes())?;
        file.write(&(ads.len() as u64).to_be_bytes())?;
        for ad in ads {
            let length = u32::try_from(ad.bytes().len()).map_err(io::Error::other)?;
            file.write(&length.to_be_bytes())?;
            file.write(ad.bytes())?;
        }
        let sum = file.sum.clone().finalize();
        file.write(&sum.to_be_bytes())?;
        let file = file.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&next, self.directory.join(FILE))?;
        // The rename is in the directory, and lasts when the directory does.
        File::open(&self.directory)?.sync_all()
    }

    /// Reads the file, sending its ads in chunks; `None` if there is no file.
    fn load(&self, chunks: &mpsc::Sender<Vec<EncodedAd>>) -> io::Result<Option<Position>> {
        let file = match File::open(self.directory.join(FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut file = Summed::new(BufReader::with_capacity(BUFFER, file));
        if file.array()? != *MAGIC {
            return Err(damaged("it does not begin as a checkpoint does"));
        }
        let position = Position {
            version: u64::from_be_bytes(file.array()?),
            chain: Chain(file.array()?),
            digest: Digest(u128::from_be_bytes(file.array()?)),
        };
        let mut left = u64::from_be_bytes(file.array()?);
        while left > 0 {
            let chunk: Vec<_> =
                (0..left.min(CHUNK as u64)).map(|_| file.ad()).collect::<io::Result<_>>()?;
            left -= chunk.len() as u64;
            if chunks.blocking_send(chunk).is_err() {
                return Err(damaged("an ad in it cannot be decoded"));
            }
        }
        let sum = file.sum.clone().finalize();
        if u32::from_be_bytes(file.array()?) != sum {
            return Err(damaged("its checksum is another"));
        }
        Ok(Some(position))
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the checkpoint is damaged: {what}"))
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

impl<F: Write> Summed<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.inner.write_all(bytes)
    }
}

impl<F: Read> Summed<F> {
    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes)?;
        self.sum.update(&bytes);
        Ok(bytes)
    }

    fn ad(&mut self) -> io::Result<EncodedAd> {
        let length = u32::from_be_bytes(self.array()?);
        if length > AD_BYTES_MAX {
            return Err(damaged("an ad in it is too long"));
        }
        let mut bytes = vec![0; length as usize];
        self.inner.read_exact(&mut bytes)?;
        self.sum.update(&bytes);
        Ok(EncodedAd::from_bytes(bytes.into()))
    }
}

impl Checkpoints for CheckpointFile {
    async fn load(
        &self,
        chunks: mpsc::Sender<Vec<EncodedAd>>,
    ) -> Result<Option<Position>, Unavailable> {
        const WHAT: &str = "read the checkpoint";
        let file = self.clone();
        let loaded = tokio::task::spawn_blocking(move || file.load(&chunks)).await;
        let loaded = loaded.map_err(|error| Unavailable(WHAT, error.into()))?;
        loaded.map_err(|error| Unavailable(WHAT, error.into()))
    }

    async fn save(&self, position: Position, ads: Vec<EncodedAd>) -> Result<(), Unavailable> {
        const WHAT: &str = "write the checkpoint";
        let file = self.clone();
        let saved = tokio::task::spawn_blocking(move || file.save(position, &ads)).await;
        let saved = saved.map_err(|error| Unavailable(WHAT, error.into()))?;
        saved.map_err(|error| Unavailable(WHAT, error.into()))
    }
}
