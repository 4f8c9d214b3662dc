//! From a control group to a container that the runtime confirms.

use std::fs;
use std::path::Path;

use evidence::ContainerRef;
use proto::containerd::services::tasks::v1::GetRequest;
use proto::containerd::v1::types::{Process, Status};

use crate::RuntimeError;
use crate::client::{Client, unless_missing, within};

/// A container that holds the process.
pub(crate) struct Located {
    pub(crate) container: ContainerRef,
    /// Its first process, as the runtime knows it.
    pub(crate) task: Process,
}

/// The running container whose first process lives in the very control groups that `pid` lives in; `None` for a process of
/// the host. This is how runc itself lists a container's processes.
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
        let request = GetRequest {
            container_id: guess.id.clone(),
            exec_id: String::new(),
        };
        let answer = client
            .tasks()
            .get(within(&runtime_namespace, request)?)
            .await;
        let task = unless_missing(answer, "task")?.and_then(|answer| answer.into_inner().process);
        if let Some(task) = task
            && runs(&task)
            && same_groups(task.pid, pid)
        {
            return Ok(Some(Located {
                container: ContainerRef {
                    runtime_namespace,
                    id: guess.id,
                },
                task,
            }));
        }
    }
    Ok(None)
}

/// The first process of a container, unless it has ended.
pub(crate) async fn first_process(
    client: &Client,
    container: &ContainerRef,
) -> Result<Option<Process>, RuntimeError> {
    let request = GetRequest {
        container_id: container.id.clone(),
        exec_id: String::new(),
    };
    let answer = client
        .tasks()
        .get(within(&container.runtime_namespace, request)?)
        .await;
    let task = unless_missing(answer, "task")?.and_then(|answer| answer.into_inner().process);
    Ok(task.filter(|task| runs(task) && task.pid != 0))
}

/// The id of the container that a process seems to live in, by its control group alone.
pub(crate) fn id_by_cgroup(pid: u32) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut ids = paths.filter_map(Guess::from_cgroup).map(|guess| guess.id);
    ids.next()
}

/// Whether the process came from the container's first one. One that was added by `exec` is a child of the runtime's shim,
/// until it hides behind a dead parent; then only events tell.
pub(crate) fn descends(pid: u32, first: u32) -> bool {
    let mut pid = pid;
    for _ in 0..DEEPEST_TREE {
        if pid == first {
            return true;
        }
        match parent(pid) {
            Some(parent) if parent > 1 => pid = parent,
            _ => return false,
        }
    }
    false
}

const DEEPEST_TREE: usize = 256;

/// The runtime goes on naming the first process of a container that has ended; its number may be another process's now.
fn runs(task: &Process) -> bool {
    task.status() != Status::Stopped
}

fn same_groups(first: u32, pid: u32) -> bool {
    let groups = |pid: u32| fs::read(Path::new("/proc").join(pid.to_string()).join("cgroup"));
    first != 0 && matches!((groups(first), groups(pid)), (Ok(first), Ok(other)) if first == other)
}

/// The process that started another one, or adopted it.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name stands in parentheses and may hold more of them.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(1)?.parse().ok()
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
pub(crate) fn is_identifier(text: &str) -> bool {
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
    fn a_process_descends_from_itself_and_its_parent_and_not_from_a_stranger() {
        let (own, parent) = (std::process::id(), std::os::unix::process::parent_id());
        assert!(descends(own, own) && descends(own, parent));
        assert!(!descends(parent, own) && !descends(own, u32::MAX));
    }

    #[test]
    fn a_container_that_has_ended_holds_no_process() {
        let task = |status| Process {
            pid: std::process::id(),
            status,
            ..Process::default()
        };
        assert!(runs(&task(Status::Running.into())) && runs(&task(Status::Paused.into())));
        assert!(!runs(&task(Status::Stopped.into())));
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
