//! What comes over the store. Records are opened only as the cluster sealed them; what stands inside of them is read or
//! refused whoever sealed it; commands are obeyed only under an operator's signature.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use portcullis_common::config::model::{Operator, OperatorRole};
use portcullis_common::control::key::OperatorKey;
use portcullis_common::control::sign::{Nonce, Verifier, sign};
use portcullis_common::control::{ack, command::Command};
use portcullis_common::ids::{NodeEpoch, NodeId};
use portcullis_common::store::keyring::Keyring;
use portcullis_common::store::reading;
use portcullis_common::store::record::{Header, Issuer, Sealer, read_unverified};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::rules::NOW;

const CHANNEL: &[u8] = b"channel";

static SEALER: LazyLock<Sealer> = LazyLock::new(|| {
    let keys = Keyring::parse("k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").expect("a key file");
    Sealer::new("portcullis", Arc::new(keys))
});

static OPERATOR: LazyLock<OperatorKey> =
    LazyLock::new(|| OperatorKey::generate(&mut StdRng::seed_from_u64(7)).expect("a key"));

fn header() -> Header {
    let node = NodeId::parse("gw-1").expect("legal");
    Header { issuer: Issuer { node, epoch: NodeEpoch(9) }, sequence: 5, at: NOW }
}

/// The bytes as a record, as what stands in one, as a command, and as an answer.
pub fn records(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(opened) = SEALER.open(CHANNEL, &bytes) {
        assert_eq!(SEALER.seal(CHANNEL, &opened.header, &opened.body), data);
    }
    if let Ok(opened) = read_unverified(&bytes) {
        inside(&opened.body);
        let _ = reading::control_entry(&opened);
    }
    inside(&bytes);
    let sealed = Bytes::from(SEALER.seal(CHANNEL, &header(), data));
    let opened = SEALER.open(CHANNEL, &sealed).expect("as it was sealed");
    assert_eq!((&opened.header, opened.body.as_ref()), (&header(), data));
    let _ = reading::control_entry(&opened);
    one_bit(&sealed, data.len());
    command(data);
    answer(data, &bytes);
}

fn inside(bytes: &Bytes) {
    let _ = reading::message(bytes);
    let _ = reading::mail(bytes);
    let _ = reading::snapshot(bytes);
    let _ = reading::placed(bytes);
}

/// Another bit anywhere, and it is not the cluster's any more.
fn one_bit(sealed: &[u8], at: usize) {
    let mut changed = sealed.to_vec();
    let place = at.wrapping_mul(31) % changed.len();
    changed[place] ^= 1 << (at % 8);
    assert!(SEALER.open(CHANNEL, &Bytes::from(changed)).is_err());
    assert!(SEALER.open(b"another", &Bytes::copy_from_slice(sealed)).is_err());
}

fn verifier() -> Verifier {
    let operator = Operator { name: "alice".to_owned(), role: OperatorRole::Admin, public_key: OPERATOR.public() };
    Verifier::new("portcullis", &[operator], NOW)
}

fn command(data: &[u8]) {
    if verifier().verify(data, NOW).is_ok() {
        panic!("a command that nobody signed");
    }
    // a command that can be read is obeyed once, or refused for what it says
    if let Ok(command) = serde_json::from_slice::<Command>(data) {
        let signed = sign(&OPERATOR, "portcullis", (NOW, NOW), Nonce([1; 16]), &command);
        let mut verifier = verifier();
        match verifier.verify(&signed, NOW) {
            Ok(obeyed) => {
                assert_eq!(obeyed.command, command);
                assert!(command.check().is_ok());
                assert!(verifier.verify(&signed, NOW).is_err(), "obeyed twice");
            }
            Err(_) => assert!(command.check().is_err() || signed.len() > data.len()),
        }
    }
}

fn answer(data: &[u8], bytes: &Bytes) {
    let nonce = Nonce([2; 16]);
    assert!(ack::open(Some(&SEALER), nonce, bytes).is_err(), "an answer that nobody sealed");
    let _ = ack::open(None, nonce, bytes);
    if let Ok(answer) = serde_json::from_slice::<ack::Answer>(data) {
        let sealed = ack::seal(&SEALER, nonce, &header(), &answer);
        if let Ok((node, opened)) = ack::open(Some(&SEALER), nonce, &sealed) {
            assert_eq!((node, opened), (header().issuer.node, answer));
        }
    }
}
