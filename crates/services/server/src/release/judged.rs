//! What a release is judged by beside policy: the path of an identity, the place of a layer.

use evidence::request::StartGate;

use super::*;

/// The path by the first template that applies; who is in no image set stays `/unmeasured`.
pub(super) fn identity(
    at: &Circumstances,
    evidence: &VerifiedEvidence,
    svid: &SvidRequest,
) -> (String, std::time::Duration) {
    let (node, workload) = (evidence.node(), evidence.workload());
    let config = workload
        .and_then(|workload| workload.image.as_ref())
        .map(|image| image.config);
    let set = config.and_then(|config| at.world.estate.image_set_of(&config, at.now));
    let pod = workload.and_then(|workload| workload.pod.as_ref());
    let facts = IdentityFacts {
        location: node.location.clone(),
        cluster: node.cluster.clone(),
        node: Some(node.name.clone()),
        image: set.map(|set| set.name.clone()),
        namespace: pod.map(|pod| pod.namespace.clone()),
        service_account: pod.and_then(|pod| pod.service_account.clone()),
        pod: pod.map(|pod| pod.name.clone()),
    };
    let template = set.and_then(|_| at.world.estate.identity_for(&facts));
    match template {
        Some((identity, path)) => {
            let ttl = match svid {
                SvidRequest::X509 { .. } => identity.x509_ttl,
                SvidRequest::Jwt { .. } => identity.jwt_ttl,
            };
            (path, ttl.duration())
        }
        None => {
            let what = config.map_or_else(|| "process".to_owned(), |config| config.to_hex());
            (
                format!("/unmeasured/node/{}/{what}", node.name),
                UNMEASURED_LIFE,
            )
        }
    }
}

/// Compares the packet's binding with what the node says about the layer and where it is listed (DESIGN 5.1).
pub(super) fn check_binding(body: &OpenRequest, opened: &OpenedPacket) -> Result<(), String> {
    if !opened.bound().is_bound() {
        return Err("the layer's key is not bound to an image".to_owned());
    }
    if body.uses.is_empty() {
        return Err("no manifest in the node's content store lists the layer".to_owned());
    }
    let layer = SeenDescriptor {
        digest: oci_digest(body.layer.digest),
        size: body.layer.size,
        media_type: &body.layer.media_type,
    };
    for usage in &body.uses {
        let place = SeenPlace {
            index: usage.index,
            of: usage.of,
            config: oci_digest(usage.config),
            diff_id: usage.diff_id.map(oci_digest),
        };
        opened
            .bound()
            .check(&layer, Some(&place))
            .map_err(|mismatch| format!("manifest {}: {mismatch}", usage.manifest))?;
    }
    Ok(())
}

/// What is unpacked runs without a key: where some containers start unasked, the images of a confidential data set stay shut.
pub(super) fn ungated(world: &World, body: &OpenRequest) -> Option<DenialReason> {
    let set = world.estate.image_set(&body.image)?;
    let dataset = world.estate.dataset(&set.dataset);
    let confidential = dataset.is_none_or(|dataset| dataset.confidential);
    let gated = body.start_gate == StartGate::Everywhere;
    (confidential && !gated).then(|| DenialReason::Ungated(set.dataset.clone()))
}

pub(super) fn oci_digest(digest: estate::Digest) -> oci_crypt::Digest {
    oci_crypt::Digest::from_sha256(*digest.as_bytes())
}

const UNMEASURED_LIFE: std::time::Duration = std::time::Duration::from_secs(300);
