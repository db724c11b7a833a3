//! TLS to PostgreSQL, up to the check of who it is.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use placard_storage::postgres::{Options, PostgresJournal};
use placard_testkit::authority::Authority;
use placard_testkit::requests::{create, request};

use crate::{commit, server};

#[tokio::test(flavor = "multi_thread")]
async fn verify_full_checks_the_authority_and_the_name() {
    let mut server = server().await;
    let (authority, stranger) = (Authority::new(), Authority::new());
    let signed = authority.sign("127.0.0.1");
    let owner = std::fs::metadata(server.data()).unwrap().uid();
    for (name, text) in [("server.crt", &signed.certificate), ("server.key", &signed.key)] {
        let file = server.data().join(name);
        std::fs::write(&file, text).unwrap();
        // PostgreSQL refuses a key that others may read.
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(&file, Some(owner), None).unwrap();
    }
    server.restart_with(&[("ssl", "on")]).await.unwrap();
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
