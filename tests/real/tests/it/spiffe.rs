//! Go's SPIFFE library inside a container of a lab's node: it gets and verifies this workload's identities, and Go's x509 reads the
//! facts in them. Whoever is not what it says, or does not speak as the specification demands, gets nothing.

use std::fs;
use std::path::Path;

use demo::steps::service::launch;
use demo::{Stage, Tell};
use estate::Digest;
use fixture::{ContainerSpec, Recipe};
use hyper_util::rt::TokioIo;
use issuer::FACTS_OID;
use proto::spiffe::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use proto::spiffe::{
    JwtBundlesRequest, JwtsvidRequest, ValidateJwtsvidRequest, X509BundlesRequest, X509svidRequest,
};
use real::{Image, Judge};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

const ID: &str = "spiffe://hospital.lab/region/US/cluster/hipaaCluster/image/judge";
const AUDIENCE: &str = "https://records.example";
const HEADER: &str = "workload.spiffe.io";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, containerd, swtpm, PostgreSQL, docker-registry, skopeo, umoci and Go; run by make test"]
async fn go_spiffe_in_a_container_verifies_its_identities_and_reads_the_facts() {
    let stage = Stage::set(Tell::silent()).await.unwrap();
    let (judge, image) = judge_image(&stage);
    enlist(&stage, &image);
    let reference = stage.registry.push(&image.layout(), "judge:1").unwrap();
    let node = &stage.dal05;
    node.cri.pull(&reference).await.unwrap();
    let (_, said) = launch(node, "judge", &node.container(&reference), "\"bundles\"")
        .await
        .unwrap();
    let answer: Value = serde_json::from_str(said.trim()).unwrap();

    assert_eq!(answer["bundles"]["x509"], json!({ "hospital.lab": 1 }));
    assert_eq!(answer["bundles"]["jwt"], json!({ "hospital.lab": 1 }));
    let [x509] = answer["x509"].as_array().unwrap().as_slice() else {
        panic!("{answer}")
    };
    assert_eq!(
        (x509["spiffe_id"].as_str(), x509["has_key"].as_bool()),
        (Some(ID), Some(true))
    );
    let [jwt] = answer["jwt"].as_array().unwrap().as_slice() else {
        panic!("{answer}")
    };
    assert_eq!(
        (jwt["spiffe_id"].as_str(), jwt["validated"].as_bool()),
        (Some(ID), Some(true))
    );
    assert_eq!(jwt["audience"], json!([AUDIENCE]));

    let program = Digest::of(fs::read(judge.program()).unwrap()).to_string();
    let facts = text_of_der(&hex::decode(x509["extension"].as_str().unwrap()).unwrap());
    for facts in [&facts, &jwt["claims"]["bailiwick"]] {
        let expected = json!({
            "v": 1, "leaf": facts["leaf"], "node": "dal05-n01", "cluster": "hipaaCluster", "location": "DAL05",
            "assurance": facts["assurance"], "boot": "lab", "image": image.config_digest(), "exe": program,
        });
        assert_eq!(facts, &expected);
        assert!(facts["assurance"].as_u64().unwrap() >= 2, "{facts}");
        the_leaf_is_there(&stage, facts).await;
    }
    assert!(
        stage
            .rows
            .subjects()
            .await
            .unwrap()
            .contains(&ID.to_owned())
    );
    another_command_gets_no_identity(&stage, &reference).await;
    wrong_headers_get_no_answer(node.socket()).await;
}

/// The judge alone in an image, with its question; nothing is asked over standard input.
fn judge_image(stage: &Stage) -> (Judge, Image) {
    let judge = Judge::build("judge-spiffe");
    let oid: Vec<String> = FACTS_OID.iter().map(ToString::to_string).collect();
    let question = json!({
        "socket": "unix:///run/bailiwick/agent.sock", "timeout_seconds": 30, "audience": AUDIENCE,
        "spiffe_id": ID, "extension": oid.join("."),
    });
    let recipe = Recipe::busybox("judge")
        .layer()
        .copy("/judge", judge.program())
        .text("/question.json", question.to_string(), 0o644)
        .entry_point(["/bin/sh", "-c", "exec /judge < /question.json"]);
    let image = Image::from(&recipe.build(&stage.scratch).unwrap());
    (judge, image)
}

/// Makes the image one that the estate knows.
fn enlist(stage: &Stage, image: &Image) {
    let file = stage.lab("estate/images.toml");
    let text = fs::read_to_string(&file).unwrap();
    let more = format!(
        "\n[image.judge]\nowner = \"medrec-owners\"\ndataset = \"medical-records\"\ndigests = [\"{}\"]\n",
        image.config_digest()
    );
    fs::write(file, text + &more).unwrap();
    stage.apply_estate().unwrap();
}

/// The facts name the leaf that records their issue, for this image on this node.
async fn the_leaf_is_there(stage: &Stage, facts: &Value) {
    let issued = stage.rows.leaves("kind", "issue").await.unwrap();
    let index = facts["leaf"].as_i64().unwrap();
    let leaf = issued.iter().find(|leaf| leaf.index == index);
    let leaf = leaf.unwrap_or_else(|| panic!("no leaf {index} in {issued:?}"));
    assert_eq!(leaf.value("outcome"), "granted", "{leaf:?}");
    assert_eq!(
        leaf.value("image"),
        facts["image"].as_str().unwrap(),
        "{leaf:?}"
    );
    assert_eq!(
        leaf.value("node"),
        facts["node"].as_str().unwrap(),
        "{leaf:?}"
    );
}

async fn another_command_gets_no_identity(stage: &Stage, reference: &str) {
    let node = &stage.dal05;
    let command = ["/bin/sh", "-c", "/judge < /question.json; true"]
        .map(str::to_owned)
        .to_vec();
    let spec = ContainerSpec {
        command,
        ..node.container(reference)
    };
    let (_, said) = launch(node, "other", &spec, "\n").await.unwrap();
    assert!(said.contains("PermissionDenied"), "{said}");
}

//= SPIFFE Workload Endpoint, section 6: requests without `workload.spiffe.io: true` are InvalidArgument
async fn wrong_headers_get_no_answer(socket: &Path) {
    let mut api = SpiffeWorkloadApiClient::new(channel(socket).await);
    for values in [&[][..], &["false"], &["True"], &["true", "true"]] {
        let codes = [
            code(api.fetch_x509svid(with(X509svidRequest {}, values)).await),
            code(
                api.fetch_x509_bundles(with(X509BundlesRequest {}, values))
                    .await,
            ),
            code(api.fetch_jwtsvid(with(jwt_request(), values)).await),
            code(
                api.fetch_jwt_bundles(with(JwtBundlesRequest {}, values))
                    .await,
            ),
            code(
                api.validate_jwtsvid(with(ValidateJwtsvidRequest::default(), values))
                    .await,
            ),
        ];
        assert_eq!(codes, [Code::InvalidArgument; 5], "{values:?}");
    }
    // With the header the answer is about the caller, who is in no container.
    let refused = api.fetch_jwtsvid(with(jwt_request(), &["true"])).await;
    assert_eq!(code(refused), Code::PermissionDenied);
}

fn jwt_request() -> JwtsvidRequest {
    JwtsvidRequest {
        audience: vec![AUDIENCE.to_owned()],
        ..Default::default()
    }
}

fn with<T>(message: T, values: &[&'static str]) -> Request<T> {
    let mut request = Request::new(message);
    for value in values {
        request
            .metadata_mut()
            .append(HEADER, value.parse().unwrap());
    }
    request
}

fn code<T>(answer: Result<T, tonic::Status>) -> Code {
    answer.err().map_or(Code::Ok, |status| status.code())
}

async fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connect = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    endpoint.connect_with_connector(connect).await.unwrap()
}

/// The JSON in a UTF8String of DER.
fn text_of_der(der: &[u8]) -> Value {
    assert_eq!(der[0], 0x0c, "{der:?}");
    let start = match der[1] {
        short if short < 0x80 => 2,
        long => 2 + usize::from(long & 0x7f),
    };
    serde_json::from_slice(&der[start..]).unwrap()
}
