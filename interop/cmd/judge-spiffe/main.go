// Command judge-spiffe verifies SVIDs and bundles with go-spiffe: those that a Workload API hands out, or those
// in the question itself.
package main

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"bailiwick.dev/interop/internal/verdict"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// Question names a Workload API, or holds SVIDs and the bundle to verify them with.
type Question struct {
	// Socket is the address of a Workload API, such as `unix:///run/agent.sock`.
	Socket string `json:"socket,omitempty"`
	// TimeoutSeconds bounds the whole conversation; 10 when absent.
	TimeoutSeconds int `json:"timeout_seconds,omitempty"`

	// TrustDomain and Bundle (a SPIFFE bundle in JSON) verify what follows.
	TrustDomain string `json:"trust_domain,omitempty"`
	Bundle      string `json:"bundle,omitempty"`
	// Chain is an X.509-SVID, each certificate in DER and base64, leaf first.
	Chain [][]byte `json:"chain,omitempty"`
	// JWT is a JWT-SVID.
	JWT string `json:"jwt,omitempty"`
	// At is when to verify the X.509-SVID, in seconds since 1970; now when absent.
	At int64 `json:"at,omitempty"`

	// Audience asks for JWT-SVIDs too.
	Audience string `json:"audience,omitempty"`
	// SPIFFEID is whom the SVIDs must identify, when given.
	SPIFFEID string `json:"spiffe_id,omitempty"`
	// Extension is the object identifier of a leaf's extension to show.
	Extension string `json:"extension,omitempty"`
}

// Answer says what was verified.
type Answer struct {
	X509    []X509  `json:"x509"`
	JWT     []JWT   `json:"jwt"`
	Bundles Bundles `json:"bundles"`
}

// X509 is a verified X.509-SVID.
type X509 struct {
	SPIFFEID  string    `json:"spiffe_id"`
	Hint      string    `json:"hint,omitempty"`
	Serial    string    `json:"serial"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	// Extension is the asked extension's value in hexadecimal; absent when the leaf has none.
	Extension *string `json:"extension,omitempty"`
	// HasKey says that a private key came with it and fits.
	HasKey bool `json:"has_key"`
}

// JWT is a verified JWT-SVID.
type JWT struct {
	SPIFFEID string         `json:"spiffe_id"`
	Hint     string         `json:"hint,omitempty"`
	Audience []string       `json:"audience"`
	Expiry   time.Time      `json:"expiry"`
	Claims   map[string]any `json:"claims"`
	Token    string         `json:"token"`
	// Validated says that the Workload API's own ValidateJWTSVID agreed.
	Validated bool `json:"validated"`
}

// Bundles lists the trust domains whose authorities are known.
type Bundles struct {
	X509 map[string]int `json:"x509"`
	JWT  map[string]int `json:"jwt"`
}

func main() { verdict.Main(judge) }

func judge(question Question) (*Answer, error) {
	judge := Judge{question, &Answer{X509: []X509{}, JWT: []JWT{}, Bundles: Bundles{map[string]int{}, map[string]int{}}}}
	var err error
	if question.Socket != "" {
		err = judge.Workload()
	} else {
		err = judge.Given()
	}
	if err == nil && len(judge.answer.X509)+len(judge.answer.JWT) == 0 {
		err = errors.New("nothing to verify")
	}
	return judge.answer, err
}

// Judge is a question and the answer so far.
type Judge struct {
	question Question
	answer   *Answer
}

// Given verifies what the question holds.
func (judge Judge) Given() error {
	domain, err := spiffeid.TrustDomainFromString(judge.question.TrustDomain)
	if err != nil {
		return err
	}
	bundle, err := spiffebundle.Parse(domain, []byte(judge.question.Bundle))
	if err != nil {
		return err
	}
	judge.answer.Bundles.X509[domain.Name()] = len(bundle.X509Authorities())
	judge.answer.Bundles.JWT[domain.Name()] = len(bundle.JWTAuthorities())
	if len(judge.question.Chain) > 0 {
		if err := judge.CheckX509(judge.question.Chain, bundle.X509Bundle(), false, ""); err != nil {
			return err
		}
	}
	if judge.question.JWT == "" {
		return nil
	}
	return judge.CheckJWT(judge.question.JWT, bundle.JWTBundle(), false, "")
}

// Workload asks a Workload API for everything and verifies it.
func (judge Judge) Workload() error {
	timeout := 10 * time.Second
	if judge.question.TimeoutSeconds > 0 {
		timeout = time.Duration(judge.question.TimeoutSeconds) * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	client, err := workloadapi.New(ctx, workloadapi.WithAddr(judge.question.Socket))
	if err != nil {
		return err
	}
	defer client.Close()
	if err := judge.workloadX509(ctx, client); err != nil {
		return fmt.Errorf("X.509: %w", err)
	}
	if err := judge.workloadJWT(ctx, client); err != nil {
		return fmt.Errorf("JWT: %w", err)
	}
	return nil
}

func (judge Judge) workloadX509(ctx context.Context, client *workloadapi.Client) error {
	fetched, err := client.FetchX509Context(ctx)
	if err != nil {
		return err
	}
	bundles, err := client.FetchX509Bundles(ctx)
	if err != nil {
		return fmt.Errorf("bundles: %w", err)
	}
	for _, bundle := range bundles.Bundles() {
		judge.answer.Bundles.X509[bundle.TrustDomain().Name()] = len(bundle.X509Authorities())
	}
	for _, svid := range fetched.SVIDs {
		chain := make([][]byte, len(svid.Certificates))
		for i, certificate := range svid.Certificates {
			chain[i] = certificate.Raw
		}
		// go-spiffe refuses a key that does not fit its certificate when it reads the response.
		if err := judge.CheckX509(chain, bundles, svid.PrivateKey != nil, svid.Hint); err != nil {
			return err
		}
		if err := judge.CheckX509Again(chain, fetched.Bundles); err != nil {
			return fmt.Errorf("bundles of the SVID's own response: %w", err)
		}
	}
	return nil
}

func (judge Judge) workloadJWT(ctx context.Context, client *workloadapi.Client) error {
	bundles, err := client.FetchJWTBundles(ctx)
	if err != nil {
		return fmt.Errorf("bundles: %w", err)
	}
	for _, bundle := range bundles.Bundles() {
		judge.answer.Bundles.JWT[bundle.TrustDomain().Name()] = len(bundle.JWTAuthorities())
	}
	if judge.question.Audience == "" {
		return nil
	}
	svids, err := client.FetchJWTSVIDs(ctx, jwtsvid.Params{Audience: judge.question.Audience})
	if err != nil {
		return err
	}
	for _, svid := range svids {
		if _, err := client.ValidateJWTSVID(ctx, svid.Marshal(), judge.question.Audience); err != nil {
			return fmt.Errorf("ValidateJWTSVID: %w", err)
		}
		if err := judge.CheckJWT(svid.Marshal(), bundles, true, svid.Hint); err != nil {
			return err
		}
	}
	return nil
}

// CheckX509 verifies a chain and notes what it says.
func (judge Judge) CheckX509(chain [][]byte, bundles x509bundle.Source, hasKey bool, hint string) error {
	if err := judge.CheckX509Again(chain, bundles); err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return err
	}
	extension, err := extensionOf(leaf, judge.question.Extension)
	if err != nil {
		return err
	}
	judge.answer.X509 = append(judge.answer.X509, X509{
		SPIFFEID: leaf.URIs[0].String(), Hint: hint, Serial: leaf.SerialNumber.Text(16),
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, Extension: extension, HasKey: hasKey,
	})
	return nil
}

// CheckX509Again verifies a chain.
func (judge Judge) CheckX509Again(chain [][]byte, bundles x509bundle.Source) error {
	var options []x509svid.VerifyOption
	if judge.question.At != 0 {
		options = append(options, x509svid.WithTime(time.Unix(judge.question.At, 0)))
	}
	id, _, err := x509svid.ParseAndVerify(chain, bundles, options...)
	if err != nil {
		return err
	}
	return judge.checkID(id)
}

// CheckJWT verifies a token and notes what it says.
func (judge Judge) CheckJWT(token string, bundles jwtbundle.Source, validated bool, hint string) error {
	svid, err := jwtsvid.ParseAndValidate(token, bundles, []string{judge.question.Audience})
	if err != nil {
		return err
	}
	if err := judge.checkID(svid.ID); err != nil {
		return err
	}
	judge.answer.JWT = append(judge.answer.JWT, JWT{
		SPIFFEID: svid.ID.String(), Hint: hint, Audience: svid.Audience, Expiry: svid.Expiry,
		Claims: svid.Claims, Token: token, Validated: validated,
	})
	return nil
}

func (judge Judge) checkID(id spiffeid.ID) error {
	if judge.question.SPIFFEID == "" || id.String() == judge.question.SPIFFEID {
		return nil
	}
	return fmt.Errorf("SVID is for %q, not for %q", id, judge.question.SPIFFEID)
}

func extensionOf(leaf *x509.Certificate, oid string) (*string, error) {
	if oid == "" {
		return nil, nil
	}
	wanted, err := x509.ParseOID(oid)
	if err != nil {
		return nil, fmt.Errorf("extension %q: %w", oid, err)
	}
	for _, extension := range leaf.Extensions {
		if wanted.EqualASN1OID(asn1.ObjectIdentifier(extension.Id)) {
			value := hex.EncodeToString(extension.Value)
			return &value, nil
		}
	}
	return nil, nil
}
