//! What CRI wrote about a container. Only its own record counts: labels may come from the image.

use std::collections::BTreeMap;

use estate::Digest;
use evidence::PodFacts;
use proto::containerd::services::containers::v1::Container;
use serde::Deserialize;

/// CRI's record.
pub(crate) struct Record {
    /// The image's configuration at creation.
    pub(crate) config: Option<Digest>,
    pub(crate) pod: Option<PodFacts>,
}

impl Record {
    /// `None`: the container did not come through CRI.
    pub(crate) fn of(namespace: &str, container: &Container) -> Option<Self> {
        let record = container
            .extensions
            .get(EXTENSION)
            .filter(|_| namespace == crate::locate::KUBERNETES)?;
        let Versioned { metadata } = serde_json::from_slice(&record.value).ok()?;
        let pod = metadata.config.labels.as_ref().and_then(|labels| {
            Some(PodFacts {
                namespace: labels.get("io.kubernetes.pod.namespace")?.clone(),
                name: labels.get("io.kubernetes.pod.name")?.clone(),
                service_account: None,
            })
        });
        Some(Self {
            config: metadata.image_ref.parse().ok(),
            pod,
        })
    }
}

const EXTENSION: &str = "io.cri-containerd.container.metadata";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Versioned {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    #[serde(default)]
    image_ref: String,
    config: Asked,
}

/// What the kubelet asked for.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(record: &str) -> Container {
        let record = prost_types::Any {
            type_url: "github.com/containerd/cri/pkg/store/container/Metadata".into(),
            value: record.into(),
        };
        Container {
            labels: [(
                "io.kubernetes.pod.name".to_owned(),
                "from-the-image".to_owned(),
            )]
            .into(),
            extensions: [(EXTENSION.to_owned(), record)].into(),
            ..Container::default()
        }
    }

    #[test]
    fn a_pods_name_comes_from_the_record_and_not_from_labels() {
        let image = Digest::of("config");
        let text = format!(
            r#"{{"Version":"v1","Metadata":{{"ID":"x","ImageRef":"{image}","Config":{{"labels":{{"io.kubernetes.pod.namespace":"clinic","io.kubernetes.pod.name":"records-0"}}}}}}}}"#
        );
        let record = Record::of("k8s.io", &container(&text)).unwrap();
        assert_eq!(record.config, Some(image));
        assert_eq!(record.pod.unwrap().name, "records-0");
    }

    #[test]
    fn outside_of_cris_namespace_a_record_counts_for_nothing() {
        assert!(
            Record::of(
                "default",
                &container(r#"{"Version":"v1","Metadata":{"Config":{}}}"#)
            )
            .is_none()
        );
        assert!(Record::of("k8s.io", &container("nonsense")).is_none());
        assert!(Record::of("k8s.io", &Container::default()).is_none());
    }
}
