//! What can be seen, with a key and without.

use images::{Binding, Report, inspect};
use oci_crypt::PacketOpener;
use serde_json::json;

use crate::build::{Person, image};
use crate::memory::Memory;

fn report(memory: &Memory, openers: &[&dyn PacketOpener]) -> Report {
    inspect(memory, openers).unwrap()
}

fn bindings(report: &Report) -> Vec<Binding> {
    report.images[0]
        .layers
        .iter()
        .map(|layer| layer.binding)
        .collect()
}

#[test]
fn only_a_key_shows_the_binding() {
    let person = Person::new();
    let encrypted = person.encrypts(&image("a"));
    assert_eq!(bindings(&report(&image("a"), &[])), [Binding::None; 3]);
    assert_eq!(bindings(&report(&encrypted, &[])), [Binding::Unknown; 3]);
    assert_eq!(
        bindings(&report(&encrypted, &[&Person::new().opener()])),
        [Binding::Unknown; 3]
    );
    assert_eq!(
        bindings(&report(&encrypted, &[&person.opener()])),
        [Binding::Bound; 3]
    );
    encrypted.edit(|json| json["layers"].as_array_mut().unwrap().swap(0, 2));
    let report = report(&encrypted, &[&person.opener()]);
    assert_eq!(
        bindings(&report),
        [Binding::Broken, Binding::Bound, Binding::Broken]
    );
    assert!(
        report.images[0].layers[0]
            .problem
            .as_ref()
            .unwrap()
            .contains("bound to")
    );
}

#[test]
fn what_stays_readable_is_said_without_repeating_values() {
    let person = Person::new();
    let text = serde_json::to_value(report(&person.encrypts(&image("a")), &[])).unwrap();
    let image = &text["images"][0];
    assert_eq!(image["public"]["environment"], json!(["PATH", "TOKEN"]));
    assert_eq!(image["public"]["labels"], json!(["owner"]));
    assert_eq!(image["public"]["history"], json!(["COPY . /"]));
    assert_eq!(
        image["layers"][0]["recipients"],
        json!([{"scheme": "jwe", "keys": [{"algorithm": "ECDH-ES+A256KW"}]}])
    );
    assert_eq!(image["layers"][0]["encrypted"], true);
    assert!(!text.to_string().contains("secret"));
}

#[test]
fn broken_annotations_are_told_and_not_fatal() {
    let person = Person::new();
    let encrypted = person.encrypts(&image("a"));
    encrypted.edit(|json| {
        json["layers"][1]["annotations"]["org.opencontainers.image.enc.pubopts"] = "?".into()
    });
    let report = report(&encrypted, &[]);
    assert!(report.images[0].layers[1].problem.is_some());
    assert!(report.images[0].layers[0].problem.is_none());
}
