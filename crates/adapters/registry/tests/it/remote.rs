//! Registries, good and bad.

use images::{BlobId, BlobReader, ImageSource, ImageTarget, Kind, PortError, RawManifest, media};
use registry::{Loopback, Options, RegistryError, open_source, open_target};

use crate::fake::{Fake, Mood, quick};

fn source(fake: &Fake) -> Box<dyn ImageSource> {
    open_source(&fake.reference("team/app:1"), &quick()).unwrap()
}

fn target(fake: &Fake) -> Box<dyn ImageTarget> {
    open_target(&fake.reference("team/app:1"), &quick()).unwrap()
}

fn drain(mut reader: Box<dyn BlobReader + '_>) -> Result<Vec<u8>, PortError> {
    let mut all = Vec::new();
    let mut buffer = vec![0; 1000];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(all),
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

fn manifest() -> RawManifest {
    RawManifest {
        media_type: media::OCI_MANIFEST.to_owned(),
        bytes: br#"{"schemaVersion":2}"#.to_vec(),
    }
}

fn write(target: &dyn ImageTarget, bytes: &[u8]) -> Result<(), PortError> {
    let mut writer = target.write_blob()?;
    for chunk in bytes.chunks(70_000) {
        writer.write(chunk)?;
    }
    writer.finish(&BlobId::of(bytes).digest)
}

#[test]
fn what_is_pushed_comes_back() {
    let fake = Fake::start(Mood::Honest);
    let target = target(&fake);
    let bytes = pattern(3_000_000);
    let id = BlobId::of(&bytes);
    assert!(!target.holds(&id).unwrap());
    write(&*target, &bytes).unwrap();
    assert!(target.holds(&id).unwrap());
    target.write_manifest(&manifest()).unwrap();
    fake.inside(|inside| assert!(!inside.manifests.contains_key("1"), "named too early"));
    target.publish(&manifest()).unwrap();

    let source = source(&fake);
    assert_eq!(source.root().unwrap(), manifest());
    assert_eq!(source.manifest(&manifest().id()).unwrap(), manifest());
    assert_eq!(drain(source.blob(&id).unwrap()).unwrap(), bytes);
}

#[test]
fn what_is_not_there_is_the_callers_mistake() {
    let fake = Fake::start(Mood::Honest);
    let error = source(&fake).root().unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    assert!(error.to_string().ends_with("/team/app:1`"), "{error}");
    assert!(drain(source(&fake).blob(&BlobId::of(b"x")).unwrap()).is_err());
}

#[test]
fn lying_sizes_are_found_while_streaming() {
    for mood in [Mood::TruncatesBlobs, Mood::SendsMore, Mood::LiesAboutLength] {
        let fake = Fake::start(mood);
        let id = fake.put_blob(&pattern(500_000));
        let source = source(&fake);
        let error = drain(source.blob(&id).unwrap()).unwrap_err();
        let wanted = if mood == Mood::TruncatesBlobs {
            Kind::Unavailable
        } else {
            Kind::VerificationFailed
        };
        assert_eq!(error.kind(), wanted, "{mood:?}: {error}");
    }
}

#[test]
fn failing_registries_are_unavailable() {
    for status in [500, 502, 503, 429] {
        let fake = Fake::start(Mood::Status(status));
        assert_eq!(source(&fake).root().unwrap_err().kind(), Kind::Unavailable);
        assert_eq!(
            target(&fake).publish(&manifest()).unwrap_err().kind(),
            Kind::Unavailable
        );
        assert_eq!(
            write(&*target(&fake), b"x").unwrap_err().kind(),
            Kind::Unavailable
        );
    }
}

#[test]
fn a_registry_that_is_not_there_is_unavailable() {
    let fake = Fake::start(Mood::Honest);
    let reference = fake.reference("team/app:1");
    drop(fake);
    let source = open_source(&reference, &quick()).unwrap();
    assert_eq!(source.root().unwrap_err().kind(), Kind::Unavailable);
}

#[test]
fn a_no_is_told_with_its_reason_made_harmless() {
    for status in [401, 403] {
        let fake = Fake::start(Mood::Status(status));
        let error = source(&fake).root().unwrap_err();
        assert_eq!(error.kind(), Kind::Denied);
        assert!(error.to_string().contains("no\\u{7}"), "{error}");
    }
}

#[test]
fn a_manifest_without_end_is_refused() {
    let fake = Fake::start(Mood::EndlessManifest);
    assert_eq!(
        source(&fake).root().unwrap_err().to_string(),
        "an answer is larger than is read"
    );
}

#[test]
fn another_manifest_than_asked_for_is_refused() {
    let fake = Fake::start(Mood::OtherManifest);
    fake.put_manifest("1", media::OCI_MANIFEST, b"{}");
    let error = source(&fake).manifest(&manifest().id()).unwrap_err();
    assert_eq!(error.kind(), Kind::VerificationFailed);
}

#[test]
fn tokens_are_fetched_when_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::start(Mood::Bearer);
    fake.put_manifest("1", media::OCI_MANIFEST, b"{}");
    let options = fake.with_login(directory.path());
    let reference = fake.reference("team/app:1");
    open_source(&reference, &options).unwrap().root().unwrap();
    let target = open_target(&reference, &options).unwrap();
    write(&*target, &pattern(200_000)).unwrap();
    target.publish(&manifest()).unwrap();
    // One token for the reader, one for the writer.
    fake.inside(|inside| {
        assert_eq!(
            inside
                .requests
                .iter()
                .filter(|line| line.ends_with("/token"))
                .count(),
            2
        )
    });
    assert_eq!(source(&fake).root().unwrap_err().kind(), Kind::Denied);
}

#[test]
fn names_and_passwords_are_sent_when_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::start(Mood::Basic);
    fake.put_manifest("1", media::OCI_MANIFEST, b"{}");
    let options = fake.with_login(directory.path());
    open_source(&fake.reference("team/app:1"), &options)
        .unwrap()
        .root()
        .unwrap();
    assert_eq!(source(&fake).root().unwrap_err().kind(), Kind::Denied);
}

#[test]
fn a_refused_token_ends_the_matter() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::start(Mood::RefusesToken);
    let options = fake.with_login(directory.path());
    let source = open_source(&fake.reference("team/app:1"), &options).unwrap();
    assert_eq!(source.root().unwrap_err().kind(), Kind::Denied);
    fake.inside(|inside| assert_eq!(inside.requests.len(), 3, "{:?}", inside.requests));
}

#[test]
fn nothing_leads_away_from_tls() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::start(Mood::ForeignRealm);
    let options = fake.with_login(directory.path());
    let source = open_source(&fake.reference("team/app:1"), &options).unwrap();
    assert!(
        source
            .root()
            .unwrap_err()
            .to_string()
            .contains("without TLS")
    );

    let fake = Fake::start(Mood::RedirectsBlobsAway);
    let id = fake.put_blob(b"x");
    let error = drain(self::source(&fake).blob(&id).unwrap()).unwrap_err();
    assert!(error.to_string().contains("307"), "{error}");

    let fake = Fake::start(Mood::UploadsAway);
    assert!(
        write(&*target(&fake), b"x")
            .unwrap_err()
            .to_string()
            .contains("without TLS")
    );
}

#[test]
fn a_host_behind_a_redirect_gets_no_password() {
    let directory = tempfile::tempdir().unwrap();
    for mood in [Mood::Bearer, Mood::Basic] {
        let stranger = Fake::start(mood);
        let fake = Fake::start(Mood::RedirectsBlobsTo(stranger.address.port()));
        let id = fake.put_blob(b"x");
        let options = fake.with_login(directory.path());
        let source = open_source(&fake.reference("team/app:1"), &options).unwrap();
        let error = drain(source.blob(&id).unwrap()).unwrap_err();
        assert_eq!(error.kind(), Kind::Denied);
        stranger.inside(|inside| {
            assert_eq!(inside.requests.len(), 1, "{mood:?}: {:?}", inside.requests)
        });
    }
}

#[test]
fn only_known_authorities_are_believed() {
    let directory = tempfile::tempdir().unwrap();
    let (fake, authority) = Fake::start_with_tls(Mood::Honest);
    fake.put_manifest("1", media::OCI_MANIFEST, b"{}");
    let path = directory.path().join("authority.pem");
    std::fs::write(&path, authority).unwrap();
    let ask = |host: &str, authorities: &[&std::path::Path]| {
        let reference = format!("docker://{host}:{}/team/app:1", fake.address.port());
        let options = Options {
            authorities: authorities.iter().map(|path| (*path).to_owned()).collect(),
            loopback: Loopback::Tls,
            ..quick()
        };
        let source = open_source(&reference.parse().unwrap(), &options).unwrap();
        source.root()
    };
    ask("localhost", &[&path]).unwrap();
    assert_eq!(ask("localhost", &[]).unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(
        ask("127.0.0.1", &[&path]).unwrap_err().kind(),
        Kind::Unavailable,
        "the certificate is for another name"
    );
}

#[test]
fn this_machine_can_be_held_to_tls_too() {
    let fake = Fake::start(Mood::Honest);
    let options = Options {
        loopback: Loopback::Tls,
        ..quick()
    };
    let source = open_source(&fake.reference("team/app:1"), &options).unwrap();
    assert_eq!(source.root().unwrap_err().kind(), Kind::Unavailable);
}

#[test]
fn a_refused_upload_says_why() {
    let fake = Fake::start(Mood::RefusesUploads);
    let target = target(&fake);
    let error = write(&*target, &pattern(50_000_000)).unwrap_err();
    assert!(
        matches!(error.kind(), Kind::Failed | Kind::Unavailable),
        "{error}"
    );
    fake.inside(|inside| assert!(inside.blobs.is_empty()));
}

#[test]
fn a_registry_that_stored_something_else_is_found_out() {
    let fake = Fake::start(Mood::StoresOther);
    let target = target(&fake);
    assert_eq!(
        write(&*target, b"x").unwrap_err().kind(),
        Kind::VerificationFailed
    );
    assert_eq!(
        target.publish(&manifest()).unwrap_err().kind(),
        Kind::VerificationFailed
    );
}

#[test]
fn a_blob_that_is_given_up_is_cancelled() {
    let fake = Fake::start(Mood::Honest);
    let target = target(&fake);
    let mut writer = target.write_blob().unwrap();
    writer.write(&pattern(300_000)).unwrap();
    drop(writer);
    drop(target);
    fake.wait_for(|inside| inside.cancelled == 1 && inside.uploads.is_empty());
    fake.inside(|inside| assert!(inside.blobs.is_empty()));
}

#[test]
fn a_digest_is_no_target() {
    let fake = Fake::start(Mood::Honest);
    let reference = fake.reference(&format!("team/app@{}", BlobId::of(b"x").digest));
    assert!(matches!(
        open_target(&reference, &quick()),
        Err(RegistryError::DigestAsTarget)
    ));
}

#[test]
fn broken_files_of_credentials_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.json");
    std::fs::write(&path, "{").unwrap();
    let options = Options {
        auth_files: vec![path.clone()],
        ..quick()
    };
    let reference = "docker://h.example/a".parse().unwrap();
    assert!(matches!(
        open_source(&reference, &options),
        Err(RegistryError::Credentials { .. })
    ));
    let options = Options {
        authorities: vec![path],
        ..quick()
    };
    assert!(matches!(
        open_source(&reference, &options),
        Err(RegistryError::NoCertificate(_))
    ));
}
