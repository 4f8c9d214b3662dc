//! Who people are: robots, keys that belong to one person, and founders.

use estate::{Founders, FoundersError, SshKey};

use crate::{appended, edited};

#[test]
fn robots_sign_nothing_and_no_two_people_are_one() {
    let robot = "\n[person.\"ana@hospital.example\"]\nrobot = true\n";
    assert_eq!(
        appended("people.toml", robot).unwrap_err().to_string(),
        "people.toml:18: `ana@hospital.example` is a robot, and robots can't stand in `platform`, which signs changes"
    );
    let free = "\n[person.ci]\nrobot = true\n";
    let reads = (
        "[\"olu@auditor.example\"]",
        "[\"olu@auditor.example\"]\nreaders = [\"ci\"]",
    );
    assert!(edited("people.toml", reads.0, reads.1).is_ok());
    assert!(appended("people.toml", free).is_ok());
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB4etDAwiEQ4bFXbMlpWkfwMUC0bv7niiF8KtjkgLlhE";
    let two = |first: &str, second: &str| {
        let text = format!("\n[person.a]\n{first}\n[person.b]\n{second}\n");
        appended("people.toml", &text)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    let (one, same) = (
        format!("keys = [\"{key} one\"]"),
        format!("keys = [\"{key}\"]"),
    );
    assert!(two(&one, &same).ends_with("`a` and `b` have the same SSH key"));
    let oidc = "oidc = { issuer = \"https://a\", subject = \"1\" }";
    assert!(two(oidc, oidc).ends_with("`a` and `b` have the same sign-in"));
    let twice = format!("keys = [\"{key} one\", \"{key} two\"]");
    assert!(two(&twice, "").contains("listed twice"));
    for bad in ["ssh-dss AAAA", "ssh-ed25519 AAAA", "ssh-ed25519", "", "x y"] {
        assert!(
            two(&format!("keys = [\"{bad}\"]"), "").contains("an SSH public key"),
            "{bad}"
        );
    }
}

#[test]
fn founders_are_as_many_as_must_sign_and_each_has_a_key_of_their_own() {
    let key = |n: u8| -> SshKey {
        let key = sshsig::SigningKey::generate_ed25519([n; 32], "").unwrap();
        key.public_key().clone().into()
    };
    let found = |people: &[(&str, &[u8])], quorum| {
        let people = people.iter().map(|(name, keys)| {
            (
                name.parse().unwrap(),
                keys.iter().map(|n| key(*n)).collect(),
            )
        });
        Founders::new(people.collect(), quorum)
    };
    let good = found(&[("a", &[1]), ("b", &[2, 3])], 2).unwrap();
    assert_eq!(Founders::from_listed(good.listed(), 2), Ok(good.clone()));
    let text = serde_json::to_string(&good.listed()).unwrap();
    assert_eq!(
        Founders::from_listed(serde_json::from_str(&text).unwrap(), 2),
        Ok(good.clone())
    );
    for quorum in [0, 3] {
        assert!(matches!(
            Founders::from_listed(good.listed(), quorum),
            Err(FoundersError::Quorum { .. })
        ));
    }
    assert!(matches!(found(&[], 0), Err(FoundersError::Quorum { .. })));
    assert!(matches!(
        found(&[("a", &[1]), ("b", &[1])], 2),
        Err(FoundersError::SharedKey { .. })
    ));
    assert!(matches!(
        found(&[("a", &[1]), ("b", &[])], 1),
        Err(FoundersError::NoKey(_))
    ));
    let mut twice = good.listed();
    twice.extend(good.listed());
    assert!(matches!(
        Founders::from_listed(twice, 2),
        Err(FoundersError::Doubled(_))
    ));
}
