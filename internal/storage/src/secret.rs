//! A secret, such as a URL with a password in it, and the file that it comes from, if it comes from one: who changes the
//! password changes the file, and nothing has to be started again.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A secret text. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    file: Option<PathBuf>,
}

impl Secret {
    /// What a file holds, without what editors leave: a line end, and a byte order mark before it all. It is read again
    /// where it may have changed.
    ///
    /// # Errors
    /// The file cannot be read, or is no text.
    pub fn read(file: &Path) -> io::Result<Self> {
        Ok(Self { text: text(file)?, file: Some(file.to_owned()) })
    }

    /// The text as it was when it was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Reads the file again, if there is one; whether the text is another one now.
    ///
    /// # Errors
    /// The file cannot be read, or is no text. The secret stays what it is.
    pub(crate) async fn renew(&mut self) -> io::Result<bool> {
        let Some(file) = self.file.clone() else { return Ok(false) };
        let read = tokio::task::spawn_blocking(move || text(&file)).await;
        let text = read.map_err(io::Error::other)??;
        let is_another = text != self.text;
        self.text = text;
        Ok(is_another)
    }
}

fn text(file: &Path) -> io::Result<String> {
    // Not the library's error, which holds the bytes and would show them if it were printed in full.
    let text = String::from_utf8(std::fs::read(file)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text"))?;
    Ok(text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']).to_owned())
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self { text, file: None }
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
    async fn a_secret_is_what_its_file_holds_now() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "\u{feff}first\r\n").unwrap();
        let mut secret = Secret::read(&file).unwrap();
        assert_eq!(secret.text(), "first");
        assert!(!secret.renew().await.unwrap());
        std::fs::write(&file, "second").unwrap();
        assert!(secret.renew().await.unwrap());
        assert_eq!(secret.text(), "second");
        std::fs::write(&file, [0xff]).unwrap();
        assert!(secret.renew().await.is_err());
        std::fs::remove_file(&file).unwrap();
        assert!(secret.renew().await.is_err());
        assert_eq!((secret.text(), format!("{secret:?}").as_str()), ("second", "Secret(…)"));
        assert!(!Secret::from("third").renew().await.unwrap());
    }
}
