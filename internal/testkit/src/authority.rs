//! A certificate authority for a test, and what it signs.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// An authority that nobody else knows.
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

impl Authority {
    /// Makes one.
    ///
    /// # Panics
    /// There is no randomness to be had.
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
    /// The name is none.
    pub fn sign(&self, name: &str) -> Certificate {
        let key = KeyPair::generate().expect("a key can be made");
        let names = vec![name.to_owned()];
        let mut params = CertificateParams::new(names).expect("a name or an address");
        // OpenSSL takes one that is named like its issuer for one that has signed itself.
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate is signed");
        Certificate { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}
