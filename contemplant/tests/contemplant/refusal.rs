//! Being turned away.

use std::path::Path;

use network_lib::handshake::{ProtocolRange, Refusal, RefusalCode};
use network_lib::local_secret::{self, FILE_NAME};
use network_lib::secret::Secret;
use network_lib::wire::ToWorker;

use crate::fake_hierophant::Connection;
use crate::setup::Setup;

fn refusal(code: RefusalCode, message: &str) -> ToWorker {
    let protocol = ProtocolRange { oldest: 7, newest: 9 };
    ToWorker::Refused(Refusal { code, message: message.to_owned(), protocol })
}

#[tokio::test]
async fn a_refusal_for_good_ends_the_program_with_its_reason() {
    for code in
        [RefusalCode::ProtocolVersion, RefusalCode::Unauthorized, RefusalCode::MockNotAllowed]
    {
        let mut setup = Setup::start().await;
        let connection = setup.hierophant.accept().await;
        connection.say(&refusal(code, "protocol 7 to 9 is wanted"));
        let error = setup.contemplant.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("protocol 7 to 9 is wanted"), "{error}");
    }
}

#[tokio::test]
async fn a_full_hierophant_is_asked_again() {
    let mut setup = Setup::start().await;
    let first = setup.hierophant.accept().await;
    first.say(&refusal(RefusalCode::Full, "full"));
    let mut second = setup.hierophant.welcome(&[]).await;
    second.expect_held(&[]).await;
}

#[tokio::test]
async fn the_token_the_name_and_the_machine_are_presented() {
    let mut setup = Setup::start_with(|config| {
        config.token = Some(Secret::from("swordfish"));
        config.name = Some("melchizedek".to_owned());
        config.instance = Some("prover-7f9c".to_owned());
    })
    .await;
    let hello = setup.hierophant.accept().await.hello;
    assert_eq!(hello.token.as_ref().map(Secret::reveal), Some("swordfish"));
    assert_eq!(hello.name, "melchizedek");
    assert_eq!(hello.instance.as_deref(), Some("prover-7f9c"));
    assert_eq!(hello.protocol, ProtocolRange::OURS);
}

/// A Contemplant whose Hierophant names this file from the second connection on, and that connection.
async fn naming(file: &Path) -> (Setup, Connection) {
    let mut setup = Setup::start().await;
    let first = setup.hierophant.accept().await;
    assert_eq!(first.hello.local_secret, None, "no file was named");
    setup.hierophant.vanish(first).await;
    setup.hierophant.name_secret_file(file);
    setup.hierophant.come_back().await;
    let second = setup.hierophant.accept().await;
    (setup, second)
}

#[tokio::test]
async fn the_local_secret_is_presented_from_the_file_that_hierophant_names() {
    let folder = tempfile::tempdir().unwrap();
    let (path, first) = local_secret::write(folder.path()).unwrap();
    let (mut setup, connection) = naming(&path).await;
    assert_eq!(connection.hello.local_secret, Some(first));
    // Hierophant starts again, with another secret.
    setup.hierophant.vanish(connection).await;
    let (_, second) = local_secret::write(folder.path()).unwrap();
    setup.hierophant.come_back().await;
    assert_eq!(setup.hierophant.accept().await.hello.local_secret, Some(second));
}

#[tokio::test]
async fn no_other_file_is_sent_and_the_refusal_says_why() {
    for named in [Path::new("/etc/hostname"), &Path::new("/no/such").join(FILE_NAME)] {
        let (setup, connection) = naming(named).await;
        assert_eq!(connection.hello.local_secret, None);
        connection.say(&refusal(RefusalCode::Unauthorized, "token required"));
        let error = setup.contemplant.await.unwrap().unwrap_err().to_string();
        assert!(error.contains("token required; this worker"), "{error}");
        assert!(error.contains(&named.display().to_string()), "{error}");
    }
}
