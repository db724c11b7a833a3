//! A certificate authority for a test, and the certificates that it signs.

use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// A certificate authority that no other program trusts.
#[derive(Debug)]
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A server's certificate and its private key, in PEM.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

impl Certificate {
    /// Returns a self-signed certificate of X.509 version 1 for a host, made as old instructions say.
    ///
    /// # Panics
    /// openssl is not installed, or fails.
    pub fn version_1(name: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let openssl = |arguments: &str| {
            let mut command = Command::new("openssl");
            command.current_dir(directory.path()).args(arguments.split(' '));
            let done = command.output().expect("openssl can be started");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            String::from_utf8(done.stdout).expect("openssl writes PEM")
        };
        openssl(&format!(
            "req -new -newkey rsa:2048 -nodes -keyout key -out request -subj /CN={name}"
        ));
        // Without extensions it is of the first version.
        let certificate = openssl("x509 -req -in request -signkey key -days 2 -sha256");
        let key = std::fs::read_to_string(directory.path().join("key")).expect("it wrote the key");
        Self { certificate, key }
    }
}

impl Authority {
    /// Makes one.
    ///
    /// # Panics
    /// The system has no randomness.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate can be signed");
        Self { pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    /// Its own certificate, in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for a host's name or address.
    ///
    /// # Panics
    /// The name is neither a host's name nor an address.
    pub fn sign(&self, name: &str) -> Certificate {
        let key = KeyPair::generate().expect("a key can be made");
        let names = vec![name.to_owned()];
        let mut params = CertificateParams::new(names).expect("a name or an address");
        // OpenSSL takes a certificate with its issuer's name for a self-signed one.
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate is signed");
        Certificate { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}
