//! Swagger UI: the page on which people read the document. Its files are in the program, in the archive in which they are
//! released, and are taken out of it when the first is asked for.

use std::sync::LazyLock;

use axum::Router;
use axum::body::Body;
use axum::middleware::{from_extractor, map_response};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;

use crate::http::headers::Unconditional;
use crate::http::problem::Problem;
use crate::http::render;

/// The path of the page.
const UI_PATH: &str = "/docs";

/// The files that the page loads, with their types. The archive has more: sources, and other flavours of the same.
const FILES: [(&str, &str); 7] = [
    ("index.html", "text/html"),
    ("index.css", "text/css"),
    ("swagger-ui.css", "text/css"),
    ("swagger-ui-bundle.js", "text/javascript"),
    ("swagger-ui-standalone-preset.js", "text/javascript"),
    ("favicon-16x16.png", "image/png"),
    ("favicon-32x32.png", "image/png"),
];
/// The one file that is not the archive's: it says what to show. No validator of another server is asked.
const INITIALIZER: (&str, &str) = ("swagger-initializer.js", "text/javascript");
const INITIALIZER_TEXT: &str = r##"window.onload = () => {
  window.ui = SwaggerUIBundle({
    "dom_id": "#swagger-ui",
    "url": "/openapi.json",
    "deepLinking": true,
    "validatorUrl": "none",
    "layout": "StandaloneLayout",
    "presets": [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset],
    "plugins": [SwaggerUIBundle.plugins.DownloadUrl],
  });
};
"##;

/// The most that a file of the archive may have; the largest has 1.5 MB.
const FILE_BYTES_MAX: usize = 4 << 20;

/// Returns the page and what it loads. It sends no request to any other server.
pub(crate) fn pages<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let names = FILES.iter().chain([&INITIALIZER]).map(|(name, _)| *name);
    // A route for each file: all else below the page is unknown to the router, as any other path is.
    let files = names.fold(Router::new(), |files, name| {
        files.route(&format!("/docs/{name}"), get(async move || page(name)))
    });
    files
        // For operators who follow the address that a server prints at its start.
        .route("/", get(async || Redirect::temporary(UI_PATH)))
        .route(UI_PATH, get(async || Redirect::to("/docs/")))
        .route("/docs/", get(async || page("index.html")))
        .layer(from_extractor::<Unconditional>())
        .layer(map_response(async |page: Response| render::kept(page)))
}

fn page(name: &str) -> Response {
    static READ: LazyLock<Vec<(&str, &str, Bytes)>> = LazyLock::new(files);
    let Some((_, media, content)) = READ.iter().find(|(known, ..)| *known == name) else {
        return Problem::route_not_found().into_response();
    };
    let mut response = Response::new(Body::from(content.clone()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// Returns the files with their names and types. One that cannot be read is missing, which a test would see.
fn files() -> Vec<(&'static str, &'static str, Bytes)> {
    let (name, media) = INITIALIZER;
    let initializer = (name, media, Bytes::from_static(INITIALIZER_TEXT.as_bytes()));
    let archived = Entries::of(SWAGGER_UI_VENDORED).into_iter().flatten().filter_map(|entry| {
        let (_, name) = entry.name.split_once("/dist/")?;
        let (name, media) = FILES.into_iter().find(|(known, _)| *known == name)?;
        Some((name, media, entry.content()?))
    });
    archived.chain([initializer]).collect()
}

/// The entries of a zip archive, as its directory at the end lists them.
struct Entries {
    archive: &'static [u8],
    /// What is left of the directory.
    directory: &'static [u8],
}

struct Entry {
    name: &'static str,
    is_deflated: bool,
    /// From the entry's own header on.
    rest: &'static [u8],
    stored_bytes: usize,
}

impl Entries {
    fn of(archive: &'static [u8]) -> Option<Self> {
        let end = archive.windows(4).rposition(|at| at == b"PK\x05\x06")?;
        let directory = archive.get(number::<4>(&archive[end..], 16)?..end)?;
        Some(Self { archive, directory })
    }
}

impl Iterator for Entries {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let header = self.directory.strip_prefix(b"PK\x01\x02").map(|_| self.directory)?;
        let length = |at| number::<2>(header, at);
        let (name, more) = (length(28)?, length(30)? + length(32)?);
        self.directory = header.get(46 + name + more..)?;
        Some(Entry {
            name: std::str::from_utf8(header.get(46..46 + name)?).ok()?,
            is_deflated: length(10)? == 8,
            stored_bytes: number::<4>(header, 20)?,
            rest: self.archive.get(number::<4>(header, 42)?..)?,
        })
    }
}

impl Entry {
    fn content(&self) -> Option<Bytes> {
        let start = 30 + number::<2>(self.rest, 26)? + number::<2>(self.rest, 28)?;
        let stored = self.rest.get(start..start + self.stored_bytes)?;
        if !self.is_deflated {
            return Some(Bytes::from_static(stored));
        }
        decompress_to_vec_with_limit(stored, FILE_BYTES_MAX).ok().map(Bytes::from)
    }
}

/// Reads a number of this many bytes, the lowest first.
fn number<const BYTES: usize>(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + BYTES)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_has_every_file_of_the_page() {
        let read = files();
        for (name, _) in FILES {
            let file = read.iter().find(|(known, ..)| *known == name);
            assert!(file.is_some_and(|(.., content)| !content.is_empty()), "{name}");
        }
        assert_eq!(read.len(), FILES.len() + 1);
        // Deflated, and long: its end says that all of it is there.
        let bundle = read.iter().find(|(name, ..)| *name == "swagger-ui-bundle.js");
        let (.., bundle) = bundle.expect("it is among the files");
        assert!(String::from_utf8_lossy(bundle).contains("SwaggerUIBundle"));
    }
}
