//! Registries on a bad day: busy, slow, and with connections that break.

use images::{BlobId, ImageSource, ImageTarget, Kind, PortError, media};
use registry::{Options, open_source, open_target, open_target_from};

use crate::fake::{Fake, Mood, quick};

fn source(fake: &Fake) -> Box<dyn ImageSource> {
    open_source(&fake.reference("team/app:1"), &quick()).unwrap()
}

fn read(fake: &Fake, id: &BlobId) -> Result<Vec<u8>, PortError> {
    let source = source(fake);
    let mut reader = source.blob(id)?;
    let (mut all, mut buffer) = (Vec::new(), vec![0; 10_000]);
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(all),
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

fn write(target: &dyn ImageTarget, bytes: &[u8]) -> Result<(), PortError> {
    let mut writer = target.write_blob()?;
    for piece in bytes.chunks(100_000) {
        writer.write(piece)?;
    }
    writer.finish(&BlobId::of(bytes).digest)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[test]
fn a_busy_registry_is_asked_again() {
    for status in [429, 500, 502, 503, 504] {
        let fake = Fake::start(Mood::Honest);
        fake.put_manifest("1", media::OCI_MANIFEST, b"{}");
        fake.inside(|inside| inside.busy = vec![(status, "0"), (status, "soon")]);
        source(&fake).root().unwrap();
        fake.inside(|inside| assert_eq!(inside.requests.len(), 3, "{status}"));
    }
}

#[test]
fn a_no_is_not_asked_again() {
    for status in [400, 403, 405, 501] {
        let fake = Fake::start(Mood::Status(status));
        assert!(source(&fake).root().is_err());
        fake.inside(|inside| assert_eq!(inside.requests.len(), 1, "{status}"));
    }
}

#[test]
fn a_registry_that_wants_a_long_wait_is_unavailable_at_once() {
    let fake = Fake::start(Mood::Honest);
    fake.put_manifest("1", media::OCI_MANIFEST, b"{}");
    fake.inside(|inside| inside.busy = vec![(429, "86400")]);
    assert_eq!(source(&fake).root().unwrap_err().kind(), Kind::Unavailable);
    fake.inside(|inside| assert_eq!(inside.requests.len(), 1));
}

#[test]
fn a_broken_download_goes_on_where_it_broke() {
    for mood in [Mood::BreaksBlobs, Mood::BeginsAnew] {
        let fake = Fake::start(mood);
        let bytes = pattern(1_500_000);
        let id = fake.put_blob(&bytes);
        assert_eq!(read(&fake, &id).unwrap(), bytes, "{mood:?}");
        let wanted = if mood == Mood::BeginsAnew { 2 } else { 8 };
        fake.inside(|inside| assert_eq!(inside.requests.len(), wanted, "{mood:?}"));
    }
}

#[test]
fn a_download_that_goes_on_elsewhere_is_refused() {
    let fake = Fake::start(Mood::WrongRange);
    let id = fake.put_blob(&pattern(500_000));
    let error = read(&fake, &id).unwrap_err();
    assert!(error.to_string().contains("at another place"), "{error}");
}

#[test]
fn a_broken_upload_goes_on_or_begins_anew() {
    for (forgets, length) in [
        (false, 5_000_000),
        (true, 5_000_000),
        (false, 300),
        (true, 0),
    ] {
        let fake = Fake::start(Mood::Honest);
        fake.inside(|inside| (inside.breaks, inside.forgets) = (2, forgets));
        let target = open_target(&fake.reference("team/app:1"), &quick()).unwrap();
        let bytes = pattern(length);
        write(&*target, &bytes).unwrap_or_else(|error| panic!("{forgets} {length}: {error}"));
        let digest = BlobId::of(&bytes).digest.to_string();
        fake.inside(|inside| {
            assert!(inside.blobs[&digest] == bytes, "{forgets} {length}");
            assert_eq!(inside.breaks, 0, "{forgets} {length}");
        });
    }
}

#[test]
fn an_upload_that_never_gets_further_ends() {
    let fake = Fake::start(Mood::Honest);
    fake.inside(|inside| (inside.breaks, inside.forgets) = (usize::MAX, true));
    let target = open_target(&fake.reference("team/app:1"), &quick()).unwrap();
    let error = write(&*target, &pattern(5_000_000)).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    fake.inside(|inside| assert!(inside.blobs.is_empty()));
}

#[test]
fn what_lies_in_a_neighbour_makes_no_journey() {
    for mood in [Mood::Mounts, Mood::Honest] {
        let fake = Fake::start(mood);
        let (here, there) = (pattern(100), pattern(200));
        let (here, there) = (BlobId::of(&here), (BlobId::of(&there), there));
        fake.inside(|inside| inside.elsewhere.insert(there.0.digest.to_string(), there.1));
        let target = open_target_from(
            &fake.reference("team/base:1"),
            &fake.reference("team/app:1"),
            &quick(),
        )
        .unwrap();
        assert_eq!(target.holds(&there.0).unwrap(), mood == Mood::Mounts);
        assert!(!target.holds(&here).unwrap());
        // What is opened instead of a mount is closed again.
        fake.wait_for(|inside| inside.uploads.is_empty());
    }
}

#[test]
fn only_a_neighbour_is_asked_for() {
    let (fake, other) = (Fake::start(Mood::Honest), Fake::start(Mood::Honest));
    for source in [other.reference("team/base:1"), fake.reference("team/app:2")] {
        let target = open_target_from(&source, &fake.reference("team/app:1"), &quick()).unwrap();
        assert!(!target.holds(&BlobId::of(b"x")).unwrap());
    }
    fake.inside(|inside| assert!(!inside.requests.iter().any(|line| line.starts_with("POST"))));
}

#[test]
fn a_slow_token_is_waited_for_within_bounds() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::start(Mood::SlowToken);
    fake.put_manifest("1", media::OCI_MANIFEST, b"{}");
    let mut options = fake.with_login(directory.path());
    let ask = |options: &Options| {
        open_source(&fake.reference("team/app:1"), options)
            .unwrap()
            .root()
    };
    ask(&options).unwrap();
    options.patience.silence = std::time::Duration::from_millis(50);
    assert_eq!(ask(&options).unwrap_err().kind(), Kind::Unavailable);
}

#[test]
fn an_identity_token_buys_a_token() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::start(Mood::Bearer);
    fake.put_manifest("1", media::OCI_MANIFEST, b"{}");
    let path = directory.path().join("config.json");
    let text = format!(
        r#"{{"auths":{{"{}":{{"identitytoken":"1d"}}}}}}"#,
        fake.address
    );
    std::fs::write(&path, text).unwrap();
    let options = Options {
        auth_files: vec![path],
        ..quick()
    };
    open_source(&fake.reference("team/app:1"), &options)
        .unwrap()
        .root()
        .unwrap();
}

#[test]
fn no_tls_by_request_reaches_a_registry_held_to_it() {
    let fake = Fake::start(Mood::Honest);
    fake.put_manifest("1", media::OCI_MANIFEST, b"{}");
    let mut options = Options {
        loopback: registry::Loopback::Tls,
        ..quick()
    };
    let ask = |options: &Options| {
        open_source(&fake.reference("team/app:1"), options)
            .unwrap()
            .root()
    };
    assert!(ask(&options).is_err());
    options.plain_http = vec![fake.address.to_string().parse().unwrap()];
    ask(&options).unwrap();
}
