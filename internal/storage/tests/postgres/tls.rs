//! TLS to PostgreSQL, up to the check of who it is.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use placard_replica::reasons;
use placard_storage::postgres::{Options, PostgresJournal};
use placard_testkit::authority::{Authority, Certificate};
use placard_testkit::requests::{create, request};
use placard_testkit::servers::postgres::PostgresServer;

use crate::{commit, server};

/// A server that speaks TLS with this certificate.
async fn encrypted(signed: &Certificate) -> PostgresServer {
    let mut server = server().await;
    let owner = std::fs::metadata(server.data()).unwrap().uid();
    for (name, text) in [("server.crt", &signed.certificate), ("server.key", &signed.key)] {
        let file = server.data().join(name);
        std::fs::write(&file, text).unwrap();
        // PostgreSQL refuses a key that others may read.
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(&file, Some(owner), None).unwrap();
    }
    server.restart_with(&[("ssl", "on")]).await.unwrap();
    server
}

/// libpq takes one; what checks certificates here does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_version_1_is_refused_with_words() {
    let old = Certificate::version_1("127.0.0.1");
    let server = encrypted(&old).await;
    let root = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&root, &old.certificate).unwrap();
    for mode in ["require", "verify-ca", "verify-full"] {
        let url = format!(
            "postgres://postgres@127.0.0.1:{}/postgres?sslmode={mode}&sslrootcert={}",
            server.port(),
            root.path().display()
        );
        let refused = PostgresJournal::connect(&url, Options::default()).await.unwrap_err();
        let told = reasons(&refused).unwrap();
        assert!(
            told.contains("certificate is X.509 version 1, which is refused"),
            "{mode}: {told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_full_checks_the_authority_and_the_name() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = encrypted(&authority.sign("127.0.0.1")).await;
    let files = tempfile::tempdir().unwrap();
    let write = |name: &str, authority: &Authority| {
        let file = files.path().join(name);
        std::fs::write(&file, authority.pem()).unwrap();
        file.display().to_string()
    };
    let (known, unknown) = (write("known.pem", &authority), write("unknown.pem", &stranger));
    let to = async |host: &str, authority: &str| {
        let url = format!(
            "postgres://postgres@{host}:{}/postgres?sslmode=verify-full&sslrootcert={authority}",
            server.port()
        );
        PostgresJournal::connect(&url, Options::default()).await
    };
    let journal = to("127.0.0.1", &known).await.unwrap();
    commit(&journal, vec![request(1, vec![create(1, "over TLS")])]).await;
    assert!(to("localhost", &known).await.is_err(), "not the certificate's name");
    assert!(to("127.0.0.1", &unknown).await.is_err(), "not the certificate's authority");
}
