//! From a control group to a container that the runtime confirms.

use evidence::ContainerRef;
use prost::Message as _;
use proto::containerd::runc::v1::ProcessDetails;
use proto::containerd::services::tasks::v1::ListPidsRequest;

use crate::RuntimeError;
use crate::client::{Client, unless_missing, within};

/// A container that holds the process.
pub(crate) struct Located {
    pub(crate) container: ContainerRef,
    /// Whether a process that was added by `exec` lives in it now.
    pub(crate) has_exec: bool,
}

/// The container whose process list holds `pid`; `None` for a process of the host.
pub(crate) async fn locate(
    client: &Client,
    cgroup: &str,
    pid: u32,
) -> Result<Option<Located>, RuntimeError> {
    let Some(guess) = Guess::from_cgroup(cgroup) else {
        return Ok(None);
    };
    let mut namespaces = client.namespaces().await?;
    // The likely one first; the path itself proves nothing.
    namespaces.sort_by_key(|namespace| *namespace != guess.namespace);
    for runtime_namespace in namespaces {
        let request = ListPidsRequest {
            container_id: guess.id.clone(),
        };
        let answer = client
            .tasks()
            .list_pids(within(&runtime_namespace, request)?)
            .await;
        let Some(answer) = unless_missing(answer, "pids")? else {
            continue;
        };
        let processes = answer.into_inner().processes;
        if processes.iter().any(|process| process.pid == pid) {
            let has_exec = processes
                .iter()
                .filter_map(|process| process.info.as_ref())
                .any(|info| {
                    ProcessDetails::decode(info.value.as_slice())
                        .is_ok_and(|details| !details.exec_id.is_empty())
                });
            return Ok(Some(Located {
                container: ContainerRef {
                    runtime_namespace,
                    id: guess.id,
                },
                has_exec,
            }));
        }
    }
    Ok(None)
}

#[derive(Debug, PartialEq, Eq)]
struct Guess {
    namespace: String,
    id: String,
}

impl Guess {
    /// `/default/app` is containerd's own form; `…/pod…/<id>` and `…/cri-containerd-<id>.scope` are Kubernetes'.
    fn from_cgroup(path: &str) -> Option<Self> {
        let mut parts = path.split('/').filter(|part| !part.is_empty()).rev();
        let last = parts.next()?;
        let id = last.strip_suffix(".scope").map_or(last, |scope| {
            scope.strip_prefix("cri-containerd-").unwrap_or(scope)
        });
        let namespace = match (parts.next(), parts.next()) {
            (Some(namespace), None) => namespace,
            _ => KUBERNETES,
        };
        is_identifier(id).then(|| Self {
            namespace: namespace.to_owned(),
            id: id.to_owned(),
        })
    }
}

/// containerd's namespace of everything that comes through CRI.
pub(crate) const KUBERNETES: &str = "k8s.io";

/// containerd's rule for ids.
fn is_identifier(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 76
        && text.starts_with(plain)
        && text.ends_with(plain)
        && text
            .chars()
            .all(|c| plain(c) || matches!(c, '.' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn guess(path: &str) -> Option<(String, String)> {
        Guess::from_cgroup(path).map(|guess| (guess.namespace, guess.id))
    }

    #[test]
    fn the_forms_of_containerd_and_of_kubernetes_are_read() {
        assert_eq!(
            guess("/default/app"),
            Some(("default".into(), "app".into()))
        );
        assert_eq!(
            guess("/kubepods/besteffort/podpod1/9c14a314"),
            Some(("k8s.io".into(), "9c14a314".into()))
        );
        assert_eq!(
            guess("/kubepods.slice/kubepods-pod1.slice/cri-containerd-9c14.scope"),
            Some(("k8s.io".into(), "9c14".into()))
        );
    }

    #[test]
    fn a_host_process_has_no_container() {
        assert_eq!(guess("/"), None);
        assert_eq!(guess(""), None);
    }

    proptest! {
        #[test]
        fn an_id_is_always_an_identifier(path in "[/a-z0-9._ =\"-]{0,40}") {
            if let Some((_, id)) = guess(&path) {
                prop_assert!(is_identifier(&id));
            }
        }
    }
}
