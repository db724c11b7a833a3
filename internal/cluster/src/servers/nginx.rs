//! A private nginx before replicas, with the configuration that operators are given.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::postgres::{as_user, give};
use super::{Place, Process, free_port, private_directory, program, started};

/// Where distributions keep the program, outside an ordinary user's path.
const DIRECTORY: &str = "/usr/sbin";
/// The configuration that operators include.
const CONFIGURATION: &str = include_str!("../../../../scripts/nginx/placard.conf");
/// The addresses that operators put theirs in the place of.
const SERVERS: [&str; 3] = ["ads-1:8080", "ads-2:8080", "ads-3:8080"];

/// An nginx. It and its directory are gone when this is dropped.
#[derive(Debug)]
pub struct Nginx {
    /// Before `directory`, so that it is dead before its files go.
    _process: Process,
    port: u16,
    _directory: TempDir,
}

impl Nginx {
    /// Starts one before servers at these ports of 127.0.0.1.
    ///
    /// # Errors
    /// nginx is not installed, or does not start within 30 s; the error holds its log.
    pub async fn start(servers: [u16; SERVERS.len()]) -> io::Result<Self> {
        started(async || Self::start_once(servers).await).await
    }

    async fn start_once(servers: [u16; SERVERS.len()]) -> io::Result<Self> {
        let directory = private_directory()?;
        let path = directory.path();
        let port = free_port()?;
        fs::write(path.join("nginx.conf"), configuration(path, port, servers))?;
        give(path)?;
        let mut command = as_user(program("nginx", &[DIRECTORY.into()])?.into());
        let words = ["-e", "stderr", "-c", "nginx.conf", "-p"].map(str::to_owned);
        command.extend(words.into_iter().chain([path.to_string_lossy().into_owned()]));
        let mut process = Process::start(&Place::temporary(path), &command)?;
        let pid = path.join("nginx.pid");
        process
            .ready(async |id| {
                let own = fs::read_to_string(&pid).unwrap_or_default().trim() == id.to_string();
                own && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()
            })
            .await?;
        Ok(Self { _process: process, port, _directory: directory })
    }

    /// Returns the port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn configuration(directory: &Path, port: u16, servers: [u16; SERVERS.len()]) -> String {
    let mut included = CONFIGURATION.replace("listen 8080;", &format!("listen 127.0.0.1:{port};"));
    for (server, port) in SERVERS.into_iter().zip(servers) {
        included = included.replace(server, &format!("127.0.0.1:{port}"));
    }
    let directory = directory.display();
    // Whatever nginx writes is in its own directory.
    let places: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {directory}/{name};\n"))
        .concat();
    format!(
        "daemon off;\npid {directory}/nginx.pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\naccess_log off;\n{places}{included}}}\n"
    )
}
