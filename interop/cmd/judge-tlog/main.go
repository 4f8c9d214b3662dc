// Command judge-tlog verifies what a transparency log hands out with Go's sumdb/note and sumdb/tlog, and with
// the reader of c2sp.org/tlog-proof and c2sp.org/tlog-tiles in filippo.io/torchwood.
package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"bailiwick.dev/interop/internal/verdict"
	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Question is what to verify; each part is checked when it is there, and there must be at least one.
type Question struct {
	// VerifierKey is the log's key, `name+hash+base64`. The name is the log's origin.
	VerifierKey string `json:"vkey"`
	// Checkpoint is a signed note.
	Checkpoint string `json:"checkpoint,omitempty"`
	// Inclusion is checked against Checkpoint.
	Inclusion *Inclusion `json:"inclusion,omitempty"`
	// Consistency is checked between an older checkpoint and Checkpoint.
	Consistency *Consistency `json:"consistency,omitempty"`
	// Receipt is a whole tlog-proof.
	Receipt *Receipt `json:"receipt,omitempty"`
	// Tiles is a directory with `checkpoint` and `tile/…`; every entry is read and verified.
	Tiles string `json:"tiles,omitempty"`
}

// Inclusion says that an entry is a leaf. Give the entry (base64), or its leaf hash.
type Inclusion struct {
	Index    int64       `json:"index"`
	Entry    *string     `json:"entry,omitempty"`
	LeafHash *tlog.Hash  `json:"leaf_hash,omitempty"`
	Proof    []tlog.Hash `json:"proof"`
}

// Consistency says that the older log is the beginning of the newer one.
type Consistency struct {
	Checkpoint string      `json:"checkpoint"`
	Proof      []tlog.Hash `json:"proof"`
}

// Receipt is a tlog-proof and the entry (base64), or its leaf hash.
type Receipt struct {
	Text     string     `json:"text"`
	Entry    *string    `json:"entry,omitempty"`
	LeafHash *tlog.Hash `json:"leaf_hash,omitempty"`
}

// Answer says what was verified.
type Answer struct {
	Verified []string `json:"verified"`
	Origin   string   `json:"origin"`
	Size     int64    `json:"size"`
	Root     string   `json:"root,omitempty"`
	Entries  []string `json:"entries,omitempty"`
}

func main() { verdict.Main(judge) }

func judge(question Question) (*Answer, error) {
	verifier, err := note.NewVerifier(question.VerifierKey)
	if err != nil {
		return nil, fmt.Errorf("verifier key: %w", err)
	}
	log := Log{verifier}
	answer := &Answer{Origin: verifier.Name()}
	checks := []struct {
		name  string
		asked bool
		check func(*Answer) error
	}{
		{"checkpoint", question.Checkpoint != "", func(answer *Answer) error {
			tree, err := log.Open(question.Checkpoint)
			answer.Size, answer.Root = tree.N, tree.Hash.String()
			return err
		}},
		{"inclusion", question.Inclusion != nil, func(*Answer) error { return log.CheckInclusion(question) }},
		{"consistency", question.Consistency != nil, func(*Answer) error { return log.CheckConsistency(question) }},
		{"receipt", question.Receipt != nil, func(*Answer) error { return log.CheckReceipt(*question.Receipt) }},
		{"tiles", question.Tiles != "", func(answer *Answer) error { return log.ReadTiles(question.Tiles, answer) }},
	}
	for _, check := range checks {
		if !check.asked {
			continue
		}
		if err := check.check(answer); err != nil {
			return nil, fmt.Errorf("%s: %w", check.name, err)
		}
		answer.Verified = append(answer.Verified, check.name)
	}
	if len(answer.Verified) == 0 {
		return nil, errors.New("nothing to verify")
	}
	return answer, nil
}

// Log is a log known by its key.
type Log struct{ verifier note.Verifier }

// Open verifies a checkpoint twice: with sumdb/note alone, and with torchwood.
func (log Log) Open(text string) (tlog.Tree, error) {
	if _, err := note.Open([]byte(text), note.VerifierList(log.verifier)); err != nil {
		return tlog.Tree{}, err
	}
	checkpoint, _, err := torchwood.VerifyCheckpoint([]byte(text), log.policy())
	return checkpoint.Tree, err
}

// CheckInclusion verifies the question's inclusion proof against its checkpoint.
func (log Log) CheckInclusion(question Question) error {
	tree, err := log.Open(question.Checkpoint)
	if err != nil {
		return err
	}
	leaf, err := leafHash(question.Inclusion.Entry, question.Inclusion.LeafHash)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(question.Inclusion.Proof, tree.N, tree.Hash, question.Inclusion.Index, leaf)
}

// CheckConsistency verifies that the question's checkpoint extends the older one.
func (log Log) CheckConsistency(question Question) error {
	tree, err := log.Open(question.Checkpoint)
	if err != nil {
		return err
	}
	older, err := log.Open(question.Consistency.Checkpoint)
	if err != nil {
		return fmt.Errorf("older checkpoint: %w", err)
	}
	return tlog.CheckTree(question.Consistency.Proof, tree.N, tree.Hash, older.N, older.Hash)
}

// CheckReceipt verifies a tlog-proof.
func (log Log) CheckReceipt(receipt Receipt) error {
	leaf, err := leafHash(receipt.Entry, receipt.LeafHash)
	if err != nil {
		return err
	}
	return torchwood.VerifyProof(log.policy(), leaf, []byte(receipt.Text))
}

// ReadTiles reads a whole log from a directory, as a monitor would, and verifies every entry.
func (log Log) ReadTiles(directory string, answer *Answer) error {
	text, err := os.ReadFile(filepath.Join(directory, "checkpoint"))
	if err != nil {
		return err
	}
	tree, err := log.Open(string(text))
	if err != nil {
		return err
	}
	tiles, err := torchwood.NewTileFS(os.DirFS(directory))
	if err != nil {
		return err
	}
	client, err := torchwood.NewClient(tiles)
	if err != nil {
		return err
	}
	for _, entry := range client.AllEntries(context.Background(), tree, 0) {
		answer.Entries = append(answer.Entries, base64.StdEncoding.EncodeToString(entry))
	}
	if err := client.Err(); err != nil {
		return err
	}
	if int64(len(answer.Entries)) != tree.N {
		return fmt.Errorf("%d entries in a log of %d", len(answer.Entries), tree.N)
	}
	answer.Size, answer.Root = tree.N, tree.Hash.String()
	return nil
}

func (log Log) policy() torchwood.Policy {
	origin := torchwood.OriginPolicy(log.verifier.Name())
	return torchwood.ThresholdPolicy(2, origin, torchwood.SingleVerifierPolicy(log.verifier))
}

func leafHash(entry *string, hash *tlog.Hash) (tlog.Hash, error) {
	if hash != nil && entry == nil {
		return *hash, nil
	}
	if entry == nil || hash != nil {
		return tlog.Hash{}, errors.New("give the entry or its leaf hash")
	}
	data, err := base64.StdEncoding.DecodeString(*entry)
	return tlog.RecordHash(data), err
}
