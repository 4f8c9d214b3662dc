#!/bin/sh
# Writes keys and messages by GnuPG 2.2 and Go's newest ocicrypt. Run in this folder.
set -eu
here=$(pwd)
work=$(mktemp -d)
trap 'gpgconf --homedir "$work/home" --kill all; rm -rf "$work"' EXIT
export GNUPGHOME="$work/home" LC_ALL=C
mkdir -m 700 "$GNUPGHOME"
go build -C ../../../../../../interop -o "$work/judge" ./cmd/judge-ocicrypt
gpg() { command gpg --batch --quiet --no-greeting --pinentry-mode loopback --trust-model always "$@"; }
options='{"symkey":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","digest":"sha256:'$(printf '%064d' 7)'","cipheroptions":{"nonce":"AAECAwQFBgcICQoLDA0ODw=="}}'
printf %s "$options" >options.json
rm -f *.key *.pub *.msg *.gpg

# Parameters of a key: name, kind of the primary key, kind of the subkey, password.
make() {
  { printf 'Key-Type: %s\nKey-Usage: sign\nSubkey-Type: %s\nSubkey-Usage: encrypt\n' "$2" "$3"
    printf 'Name-Real: %s\nName-Email: %s@example.org\nExpire-Date: 0\n' "$1" "$1"
    if [ "$4" ]; then printf 'Passphrase: %s\n' "$4"; else echo '%no-protection'; fi; echo '%commit'
  } | gpg --generate-key 2>/dev/null
  gpg --passphrase "$4" --export-secret-keys "$1@example.org" >"$1.key"
  gpg --armor --export "$1@example.org" >"$1.pub"
}
make rsa2048 "RSA
Key-Length: 2048" "RSA
Subkey-Length: 2048" 'correct horse'
make rsa3072 "RSA
Key-Length: 3072" "RSA
Subkey-Length: 3072" ''
make rsa1024 "RSA
Key-Length: 1024" "RSA
Subkey-Length: 1024" ''
make cv25519 "EDDSA
Key-Curve: ed25519" "ECDH
Subkey-Curve: cv25519" 'correct horse'
for curve in 256 384 521; do
  make "p$curve" "ECDSA
Key-Curve: nistp$curve" "ECDH
Subkey-Curve: nistp$curve" ''
done
gpg --armor --export-secret-keys rsa3072@example.org >rsa3072.armoured.key
gpg --passphrase 'correct horse' --export-secret-subkeys cv25519@example.org >cv25519.subkeys.key
gpg --export >all.pub.gpg
gpg --passphrase 'correct horse' --export-secret-keys >all.key.gpg

encrypt() { name=$1; shift; gpg --encrypt "$@" <options.json >"$name.msg"; }
for name in rsa1024 rsa2048 rsa3072 cv25519 p256 p384 p521; do
  encrypt "gpg.$name" --recipient "$name@example.org"
done
encrypt gpg.several -r rsa2048@example.org -r rsa3072@example.org -r cv25519@example.org
encrypt gpg.hidden -R rsa2048@example.org -R rsa3072@example.org -R p256@example.org
encrypt gpg.zip --compress-algo zip -r rsa3072@example.org
encrypt gpg.stored --compress-algo none -r rsa3072@example.org
encrypt gpg.bzip2 --compress-algo bzip2 -r rsa3072@example.org
encrypt gpg.aes128 --cipher-algo aes128 -r rsa3072@example.org
encrypt gpg.3des --cipher-algo 3des -r rsa3072@example.org
encrypt gpg.signed --sign -u rsa3072@example.org -r rsa3072@example.org
encrypt gpg.password --symmetric --passphrase 'battery staple' -r rsa3072@example.org

# Keys that nothing is encrypted to.
make revoked "RSA
Key-Length: 2048" "RSA
Subkey-Length: 2048" ''
fingerprint() { gpg --with-colons --list-keys "$1@example.org" | awk -F: "\$1 == \"fpr\" {print \$10}" | sed -n "$2p"; }
sed 's/^:---/---/' "$GNUPGHOME/openpgp-revocs.d/$(fingerprint revoked 1).rev" | gpg --import 2>/dev/null
gpg --armor --export revoked@example.org >revoked.pub
make replaced "RSA
Key-Length: 2048" "RSA
Subkey-Length: 2048" ''
printf 'key 1\nrevkey\ny\n0\n\ny\nsave\n' | gpg --command-fd 0 --edit-key replaced@example.org 2>/dev/null
gpg --armor --export replaced@example.org >subkey-revoked.pub
gpg --passphrase '' --quick-add-key "$(fingerprint replaced 1)" cv25519 encr 0
gpg --armor --export replaced@example.org >replaced.pub
gpg --faked-system-time 20200101T000000! --passphrase '' --quick-generate-key expired@example.org rsa2048 sign 2y
gpg --faked-system-time 20200101T000000! --passphrase '' --quick-add-key "$(fingerprint expired 1)" rsa2048 encr 2y
gpg --armor --export expired@example.org >expired.pub
gpg --passphrase '' --quick-generate-key signer@example.org ed25519 sign 0
gpg --armor --export signer@example.org >signer.pub
make twin "RSA
Key-Length: 2048" "RSA
Subkey-Length: 2048" ''
printf 'Key-Type: EDDSA\nKey-Curve: ed25519\nSubkey-Type: ECDH\nSubkey-Curve: cv25519\nName-Real: another\nName-Email: twin@example.org\n%%no-protection\n%%commit\n' | gpg --generate-key 2>/dev/null
gpg --armor --export twin@example.org >twins.pub
rm -f twin.key twin.pub revoked.key replaced.key

# Go's ocicrypt, over a layer of no matter.
printf layer >"$work/layer"
ocicrypt() {
  name=$1; shift
  printf '{"op":"encrypt","layer":"%s","output":"%s","media_type":"application/vnd.oci.image.layer.v1.tar","gpg_ring":"%s","gpg_recipients":[%s]}' \
    "$work/layer" "$work/out" "$here/all.pub.gpg" "$*" | "$work/judge" |
    jq -r '.annotations["org.opencontainers.image.enc.keys.pgp"]' | base64 -d >"$name.msg"
}
ocicrypt go.rsa2048 '"rsa2048@example.org"'
ocicrypt go.cv25519 '"cv25519@example.org"'
ocicrypt go.several '"rsa3072@example.org","cv25519","p256@example.org"'
