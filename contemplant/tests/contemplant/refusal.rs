//! Being turned away.

use network_lib::handshake::{ProtocolRange, Refusal, RefusalCode};
use network_lib::secret::Secret;
use network_lib::wire::ToWorker;

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
