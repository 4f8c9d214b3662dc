//! What goes out of the estate leaves its keys and secrets behind: whoever brings the name back must not get them.

use estate::PolicyVersion;
use server::govern::{GovernError, Submitted};
use test_server::{TestServer, files};

const BEA: &str = "bea@hospital.example"; // owns `bills`
const CHEN: &str = "chen@hospital.example"; // owns `records`

/// The files without all that belongs to `records`.
fn without_records() -> Vec<(String, String)> {
    let mut files = files();
    files.retain(|(path, _)| !path.contains("records") && path != "credentials.toml");
    for (path, text) in &mut files {
        match path.as_str() {
            "datasets.toml" => {
                let (head, rest) = text.split_once("[dataset.records]").unwrap();
                let (_, bills) = rest.split_once("[dataset.bills]").unwrap();
                *text = format!("{head}[dataset.bills]{bills}");
            }
            "images.toml" => *text = "version = 1\n".to_owned(),
            _ => {}
        }
    }
    files
}

/// The version that is in force after the owner of `records` alone took everything of it away.
async fn emptied() -> TestServer {
    let house = TestServer::start().await;
    // The tests of the estate guard: they go first, with everybody's word.
    let tests: Vec<_> = files()
        .into_iter()
        .filter(|(path, _)| !path.starts_with("tests/"))
        .collect();
    house.apply(tests, true).await.unwrap();
    let gone = house.submit_as(CHEN, without_records(), true).await;
    assert!(matches!(gone, Ok(Submitted::Applied(_))), "{gone:?}");
    house
}

async fn refused_to_bea(house: &TestServer, files: Vec<(String, String)>) -> String {
    let version = house.server.world().version();
    let submitted = house.submit_as(BEA, files, false).await;
    let outcome = match submitted {
        Ok(submitted) => house.agree(submitted).await.map(drop),
        Err(why) => Err(why),
    };
    assert_eq!(house.server.world().version(), version, "{outcome:?}");
    match outcome {
        Err(why @ GovernError::NotApproved(_)) => why.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_data_set_does_not_come_back_as_anothers() {
    let house = emptied().await;
    let mut evil = without_records();
    evil[1].1.push_str(
        "[dataset.records]\nowner = \"billing-owners\"\ntenant = \"hospital\"\nmin_assurance = 0\n",
    );
    let why = refused_to_bea(&house, evil).await;
    assert!(why.contains("`records-owners`"), "{why}");
}

#[tokio::test]
async fn an_image_set_does_not_come_back_in_another_data_set() {
    let house = emptied().await;
    let mut evil = without_records();
    for (path, text) in &mut evil {
        if path == "images.toml" {
            text.push_str("[image.medrec]\nowner = \"billing-owners\"\ndataset = \"bills\"\nrepository = \"registry.hospital.example/medrec\"\ndigests = [\"sha256:1111111111111111111111111111111111111111111111111111111111111111\"]\n");
        }
    }
    let why = refused_to_bea(&house, evil).await;
    assert!(why.contains("`records`"), "{why}");
}

#[tokio::test]
async fn what_went_comes_back_as_it_was_and_a_restart_agrees() {
    let house = emptied().await;
    house.apply(files(), false).await.unwrap();
    let again = house.again().await.unwrap();
    assert_eq!(again.world().version(), house.server.world().version());
    assert_eq!(again.world().version(), PolicyVersion(4));
}
