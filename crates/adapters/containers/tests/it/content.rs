//! Images by content, whatever they are called.

use estate::Digest;
use evidence::request::LayerUse;

use crate::runtime::Runtime;

#[test]
#[ignore = "needs root and containerd; run by make test"]
fn a_moved_tag_changes_nothing() {
    let mut runtime = Runtime::start();
    let first = runtime.image("example/app:v1", "one", &[]);
    let containers = runtime.watched();
    let (_, pid) = runtime.run(&[], &first.name, &[]);
    // Once measured, an image is known, also when the runtime throws away what no name leads to.
    assert_eq!(
        runtime.measure(&containers, pid).image.unwrap().config,
        first.config
    );
    let second = runtime.image("example/app:v1", "two", &[]);
    assert_ne!(first.config, second.config);
    let (_, other) = runtime.run(&[], &second.name, &[]);
    for (pid, image) in [(pid, &first), (other, &second)] {
        let facts = runtime.measure(&containers, pid);
        assert_eq!(facts.image.unwrap().config, image.config);
        assert_eq!(facts.deviations.unwrap(), []);
    }
}

#[test]
#[ignore = "needs root and containerd; run by make test"]
fn images_with_the_same_layers_are_told_apart_by_what_they_run() {
    let mut runtime = Runtime::start();
    let first = runtime.image("example/first:v1", "one", &[]);
    let second = runtime.image("example/second:v1", "one", &["--config.env", "MODE=test"]);
    let third = runtime.image("example/third:v1", "one", &["--config.label", "build=3"]);
    assert_eq!(first.diff_id, second.diff_id);
    let containers = runtime.watched();
    for image in [&first, &second, &third] {
        let (_, pid) = runtime.run(&[], &image.name, &[]);
        let facts = runtime.measure(&containers, pid);
        assert_eq!(facts.image.unwrap().config, image.config, "{}", image.name);
        assert_eq!(facts.deviations.unwrap(), []);
    }
}

#[test]
#[ignore = "needs root and containerd; run by make test"]
fn every_manifest_that_lists_a_layer_is_found() {
    let runtime = Runtime::start();
    let first = runtime.image("example/first:v1", "one", &[]);
    let second = runtime.image("example/second:v1", "one", &["--config.label", "other=1"]);
    runtime.image("example/third:v1", "three", &[]);
    let containers = runtime.unwatched();
    let mut expected: Vec<LayerUse> = [&first, &second]
        .map(|image| LayerUse {
            manifest: image.manifest,
            config: image.config,
            index: 0,
            of: 1,
            diff_id: Some(image.diff_id),
        })
        .into();
    expected.sort_by_key(|found| found.manifest);
    assert_eq!(
        runtime
            .block_on(containers.manifests_listing_layer(first.layer))
            .unwrap(),
        expected
    );
    let none = runtime.block_on(containers.manifests_listing_layer(Digest::of("nothing")));
    assert_eq!(none.unwrap(), []);
}
