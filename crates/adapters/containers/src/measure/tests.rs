//! Which runtimes are known.

use proto::containerd::services::containers::v1::container::Runtime;

use super::*;

fn judge(name: &str, options: Option<Options>) -> RuntimeIsKnown {
    let container = Container {
        runtime: Some(Runtime {
            name: name.into(),
            options: options.map(|options| prost_types::Any {
                type_url: "containerd.runc.v1.Options".into(),
                value: options.encode_to_vec(),
            }),
        }),
        ..Container::default()
    };
    let config = Config {
        socket: "/none".into(),
        platform_mounts: Vec::new(),
        runtime_binaries: vec!["/opt/gate".into()],
    };
    runtime(&container, &config, None)
}

fn binary(name: &str) -> Option<Options> {
    Some(Options {
        binary_name: name.into(),
        ..Options::default()
    })
}

#[test]
fn only_runc_and_the_configured_wrapper_are_known() {
    for options in [None, binary(""), binary("runc"), binary("/opt/gate")] {
        assert_eq!(judge("io.containerd.runc.v2", options), RuntimeIsKnown::Yes);
    }
    assert_eq!(
        judge("io.containerd.runc.v2", binary("/tmp/evil")),
        RuntimeIsKnown::No
    );
    assert_eq!(judge("io.containerd.evil.v1", None), RuntimeIsKnown::No);
    let foreign_root = Options {
        root: "/tmp".into(),
        ..Options::default()
    };
    assert_eq!(
        judge("io.containerd.runc.v2", Some(foreign_root)),
        RuntimeIsKnown::No
    );
}
