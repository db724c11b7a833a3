//! A secret, such as a URL with a password in it, and the file that it comes from, if it comes from one: who changes the
//! password changes the file, and nothing has to be started again.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;

/// How long reading a file may take.
const LIMIT: Duration = Duration::from_secs(1);
/// Bytes of a file that an option names.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A secret text. It is never shown.
pub struct Secret {
    text: String,
    file: Option<PathBuf>,
    /// A reading of the file that has taken too long so far.
    reading: Option<JoinHandle<io::Result<String>>>,
}

impl Clone for Secret {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), file: self.file.clone(), reading: None }
    }
}

impl Secret {
    /// Reads a file, without what editors leave: a line end, and a byte order mark before it all. The file is read
    /// again where it may have changed.
    ///
    /// # Errors
    /// The file cannot be read, or is no text.
    pub fn read(file: &Path) -> io::Result<Self> {
        Ok(Self { text: text(file)?, file: Some(file.to_owned()), reading: None })
    }

    /// The text as it was when it was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Reads the file again, if there is one. The caller ensures that only one call runs at a time. A reading that has taken
    /// too long is not waited for again: a later call takes its result.
    ///
    /// # Errors
    /// The file cannot be read within a second, or is no text. The secret stays what it is.
    pub(crate) async fn renew(&mut self) -> io::Result<()> {
        let Some(file) = self.file.clone() else { return Ok(()) };
        let wait = if self.reading.is_some() { Duration::ZERO } else { LIMIT };
        // One that hangs, as on a file system that is away, keeps a thread, and is not asked for another.
        let reading =
            self.reading.get_or_insert_with(|| tokio::task::spawn_blocking(move || text(&file)));
        let read = tokio::time::timeout(wait, &mut *reading).await;
        let read = read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        self.reading = None;
        self.text = read.map_err(io::Error::other)??;
        Ok(())
    }
}

/// Reads a file that an option names, which may be a device without an end.
///
/// # Errors
/// It cannot be read, or is larger than 1 MiB.
pub fn read_file(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(bytes)
}

fn text(file: &Path) -> io::Result<String> {
    // Not the library's error, which holds the bytes and would show them if it were printed in full.
    let text = String::from_utf8(read_file(file)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text"))?;
    Ok(text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']).to_owned())
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self { text, file: None, reading: None }
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<&String> for Secret {
    fn from(text: &String) -> Self {
        text.clone().into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn secret_is_read_again_from_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "\u{feff}first\r\n").unwrap();
        let mut secret = Secret::read(&file).unwrap();
        assert_eq!(secret.text(), "first");
        std::fs::write(&file, "second").unwrap();
        secret.renew().await.unwrap();
        assert_eq!(secret.text(), "second");
        std::fs::write(&file, [0xff]).unwrap();
        assert!(secret.renew().await.is_err());
        std::fs::remove_file(&file).unwrap();
        assert!(secret.renew().await.is_err());
        assert_eq!((secret.text(), format!("{secret:?}").as_str()), ("second", "Secret(…)"));
    }

    /// An operator may name a pipe, or a file on a server that is away.
    #[tokio::test]
    async fn a_file_that_hangs_is_waited_for_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
        let mut secret = Secret { file: Some(file.clone()), ..Secret::from("before") };
        for _ in 0..2 {
            let late = secret.renew().await.unwrap_err();
            assert_eq!(late.kind(), io::ErrorKind::TimedOut);
            assert_eq!(secret.text(), "before");
        }
        let writing = tokio::task::spawn_blocking(move || std::fs::write(file, "after"));
        writing.await.unwrap().unwrap();
        let read = async { while secret.renew().await.is_err() {} };
        tokio::time::timeout(60 * LIMIT, read).await.unwrap();
        assert_eq!(secret.text(), "after");
    }

    #[test]
    fn a_file_without_an_end_is_not_read_whole() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, vec![b'x'; 1 << 20]).unwrap();
        assert_eq!(read_file(&file).unwrap().len(), 1 << 20);
        std::fs::write(&file, vec![b'x'; (1 << 20) + 1]).unwrap();
        assert_eq!(read_file(&file).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        #[cfg(unix)]
        assert_eq!(
            read_file(Path::new("/dev/zero")).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
    }
}
