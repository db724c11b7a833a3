//! Files that options name: secrets, tokens, certificates. No error shows what a file holds, or a secret that was given in
//! place of a file's name.

use std::path::Path;

use anyhow::Context;
use placard_node::{Secret, read_file};

/// The secret in the file that an option names.
pub(crate) fn secret(option: &str, file: &Path) -> anyhow::Result<Secret> {
    Secret::read(file).with_context(|| unread(option, file))
}

/// The text in the file that an option names.
pub(crate) fn text(option: &str, file: &Path) -> anyhow::Result<String> {
    let text = String::from_utf8(read(option, file)?);
    // Not the error itself, which would show the bytes if it were printed in full.
    text.map_err(|_| anyhow::anyhow!("cannot read {} as text", file.display()))
}

/// The bytes in the file that an option names.
pub(crate) fn read(option: &str, file: &Path) -> anyhow::Result<Vec<u8>> {
    read_file(file).with_context(|| unread(option, file))
}

/// Says what cannot be read. The message names the file only if it exists: otherwise the name may be the secret itself,
/// given in place of a file that holds it.
fn unread(option: &str, file: &Path) -> String {
    match file.symlink_metadata() {
        Ok(_) => format!("cannot read {}", file.display()),
        Err(_) => format!("cannot read the file that {option} names"),
    }
}
