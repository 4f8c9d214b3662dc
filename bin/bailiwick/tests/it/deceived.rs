//! Nothing is signed that is not what it is shown as: by a server that edits its answers, or by a folder of other files.

use serde_json::Value;

use crate::{
    changes::{CHEN, change, edit, house_with, version, widen},
    house::House,
    promotions::{LAYER, layout, with_promoter},
    runner::run,
    tampering::Tampering,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_the_change_does_not_lead_to_is_not_signed_for() {
    let house = house_with(&[]).await;
    let estate = widen(&house);
    house.root(&["apply", "-f", &estate], "");
    let key = house.key(CHEN);
    let approve = [
        "change", "approve", "2", "--sign", &key, "--yes", "-f", &estate,
    ];
    edit(&house, "datasets.toml", |text| {
        text.replace("\"1h\"", "\"2h\"")
    });
    let refused = house.root(&approve, "");
    assert!(
        refused.status == 4 && refused.stderr.contains("leads to another estate"),
        "{refused:?}"
    );
    assert_eq!(version(&house), 1);
    edit(&house, "datasets.toml", |text| {
        text.replace("\"2h\"", "\"1h\"")
    });
    let signed = house.root(&approve, "");
    assert!(
        signed.status == 0 && signed.stdout.starts_with("state:     applied\n"),
        "{signed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn promotions_of_the_server_do_not_hide_what_else_a_change_leads_to() {
    let house = House::open().await;
    let promoter = with_promoter(&house);
    let image = house.path("image");
    layout(&image, "one", &format!("{LAYER}+encrypted"));
    let place = format!("oci:{image}:1");
    house.done_quietly(&[
        "image", "promote", &place, "--to", "medrec", "--key", &promoter,
    ]);
    let estate = widen(&house);
    assert_eq!(house.root(&["apply", "-f", &estate], "").status, 0);
    let key = house.key(CHEN);
    let approve = [
        "change", "approve", "3", "--sign", &key, "--yes", "-f", &estate,
    ];
    // A server that keeps its promotions to itself, or passes a file of the folder off as one.
    let smuggled = |body: String| {
        let mut answer: Value = serde_json::from_str(&body).unwrap();
        if let Some(one) = answer["data"]["promotions"][0].get_mut(0) {
            *one = "images.toml".into();
        }
        answer.to_string()
    };
    let withheld = |body: String| {
        let mut answer: Value = serde_json::from_str(&body).unwrap();
        answer["data"]["promotions"] = Value::Array(Vec::new());
        answer.to_string()
    };
    let servers = [
        Tampering::beside(&house.kit.socket(), "smuggled.sock", smuggled),
        Tampering::beside(&house.kit.socket(), "withheld.sock", withheld),
    ];
    for server in &servers {
        let address = server.address();
        let words = [&approve[..], &["--server", &address]].concat();
        let refused = tokio::task::block_in_place(|| run(&words, ""));
        assert_eq!(refused.status, 4, "{refused:?}");
    }
    edit(&house, "datasets.toml", |text| {
        text.replace("max_lease = \"1h\"", "max_lease = \"2h\"")
    });
    assert_eq!(house.root(&approve, "").status, 4);
    edit(&house, "datasets.toml", |text| {
        text.replace("max_lease = \"2h\"", "max_lease = \"1h\"")
    });
    let signed = house.root(&approve, "");
    assert!(
        signed.status == 0
            && signed
                .stderr
                .contains("note: `promotions/medrec.json` is the server's"),
        "{signed:?}"
    );
    assert_eq!(version(&house), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_not_what_the_server_shows_is_not_signed() {
    let house = house_with(&[]).await;
    let estate = widen(&house);
    house.root(&["apply", "-f", &estate], "");
    let truth = change(&house, "2");
    let hash = truth["hash"].as_str().unwrap().to_owned();
    let result = truth["record"]["result"].as_str().unwrap().to_owned();
    let other = format!("sha256:{}", "0".repeat(64));
    type Edit = Box<dyn Fn(String) -> String + Send>;
    let replaced = |from: &str, to: &str| -> Edit {
        let (from, to) = (from.to_owned(), to.to_owned());
        Box::new(move |body: String| body.replace(&from, &to))
    };
    let without_access: Edit = Box::new(|body| {
        let mut answer: Value = serde_json::from_str(&body).unwrap();
        answer["data"]["access"] = Value::Array(Vec::new());
        answer.to_string()
    });
    let harmless: Edit = Box::new(|body| {
        let mut answer: Value = serde_json::from_str(&body).unwrap();
        for one in answer["data"]["record"]["changes"].as_array_mut().unwrap() {
            one["effect"] = "narrowing".into();
        }
        answer["data"]["effect"] = "narrowing".into();
        answer.to_string()
    });
    let edits = [
        ("hash", replaced(&hash, &other)),
        ("result", replaced(&result, &other)),
        ("gains", without_access),
        (
            "place",
            replaced("\"location\":\"FRA02\"", "\"location\":\"DAL05\""),
        ),
        (
            "effect",
            replaced(
                "\"effect\":\"widening\",\"submitted\"",
                "\"effect\":\"neutral\",\"submitted\"",
            ),
        ),
        ("record's effect", harmless),
        ("number", replaced("\"number\":2", "\"number\":3")),
        ("format", replaced("\"v\":1", "\"v\":2")),
    ];
    let key = house.key(CHEN);
    for (name, edit) in edits {
        let honest = house.kit.socket();
        let socket = format!("{}.sock", name.replace([' ', '\''], "-"));
        let server = Tampering::beside(&honest, &socket, edit).address();
        let approve = [
            "change", "approve", "2", "--sign", &key, "--yes", "--server", &server,
        ];
        let refused = tokio::task::block_in_place(|| run(&approve, ""));
        let wanted = if name == "format" { 1 } else { 4 };
        assert_eq!(
            (refused.status, refused.stdout.as_str()),
            (wanted, ""),
            "{name}: {refused:?}"
        );
    }
    assert_eq!(version(&house), 1);
    let untouched = change(&house, "2");
    assert_eq!(untouched["record"]["signatures"], Value::Array(Vec::new()));
    // Through the same door without edits it is signed: the refusals were not the door's.
    let server = Tampering::beside(&house.kit.socket(), "honest.sock", |body| body).address();
    let approve = [
        "change", "approve", "2", "--sign", &key, "--yes", "--server", &server,
    ];
    let signed = tokio::task::block_in_place(|| run(&approve, ""));
    assert_eq!(signed.status, 0, "{signed:?}");
    assert_eq!(version(&house), 2);
}
