//! The values of leaves that releases and enrolments share.

use super::*;

pub(super) fn basis_fields(draft: Draft, basis: &Basis, entropy: &dyn Entropy) -> Draft {
    let approvers: Vec<String> = basis.approvers.iter().map(ToString::to_string).collect();
    draft
        .with("policy", basis.policy.0, entropy)
        .with("estate", basis.estate.0.to_string(), entropy)
        .with("change", basis.change.0, entropy)
        .with("approvers", approvers, entropy)
}

pub(super) fn node_fields(draft: Draft, node: &NodeFacts, entropy: &dyn Entropy) -> Draft {
    draft
        .with("node", node.name.to_string(), entropy)
        .with_some(
            "cluster",
            node.cluster.as_ref().map(ToString::to_string),
            entropy,
        )
        .with_some(
            "location",
            node.location.as_ref().map(ToString::to_string),
            entropy,
        )
        .with("assurance", node.assurance.level(), entropy)
        .with_some("boot", node.boot.as_ref().map(ToString::to_string), entropy)
        .with_some("quotedAt", node.quoted_at.map(|at| at.to_string()), entropy)
}

pub(super) fn subject_fields(
    draft: Draft,
    node: &NodeFacts,
    workload: Option<&WorkloadFacts>,
    entropy: &dyn Entropy,
) -> Draft {
    let draft = node_fields(draft, node, entropy);
    let Some(workload) = workload else {
        return draft;
    };
    let image = workload.image.as_ref();
    draft
        .with_some(
            "image",
            image.map(|image| image.config.to_string()),
            entropy,
        )
        .with_some(
            "exe",
            workload.exe.as_ref().map(|exe| exe.digest.to_string()),
            entropy,
        )
        .with_some(
            "container",
            workload
                .container
                .as_ref()
                .map(|container| container.id.clone()),
            entropy,
        )
        .with_some(
            "pod",
            workload
                .pod
                .as_ref()
                .map(|pod| format!("{}/{}", pod.namespace, pod.name)),
            entropy,
        )
}
