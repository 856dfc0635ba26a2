package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"testing"
	"time"
)

// The example of the Standard Webhooks specification's reference libraries.
func TestSignedBy(t *testing.T) {
	const id, timestamp, signature = "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	key, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	keys := []secret{{"other", []byte("other")}, {"key", key}}
	at := time.Unix(1614265330, 0)
	for _, row := range []struct {
		what, id, timestamp, signature, body string
		now                                  time.Time
		want                                 string
	}{
		{"the example", id, timestamp, signature, `{"test": 2432232314}`, at, "key"},
		{"one of two", id, timestamp, "v1,AAAA " + signature, `{"test": 2432232314}`, at, "key"},
		{"two of two", id, timestamp, signature + " v1,A9tvYUxvVRf3KZODcc7Ikc08j2ku8QechJYsWbg28NY=", `{"test": 2432232314}`, at, "key other"},
		{"another body", id, timestamp, signature, `{"test": 2432232315}`, at, ""},
		{"another id", "msg_2", timestamp, signature, `{"test": 2432232314}`, at, ""},
		{"another version", id, timestamp, "v2" + signature[2:], `{"test": 2432232314}`, at, ""},
		{"too late", id, timestamp, signature, `{"test": 2432232314}`, at.Add(6 * time.Minute), ""},
		{"no id", "", timestamp, signature, `{"test": 2432232314}`, at, ""},
		{"no timestamp", id, "", signature, `{"test": 2432232314}`, at, ""},
	} {
		header := http.Header{}
		header.Set("webhook-id", row.id)
		header.Set("webhook-timestamp", row.timestamp)
		header.Set("webhook-signature", row.signature)
		got, err := signedBy(keys, header, []byte(row.body), row.now)
		if got != row.want || (err == nil) != (row.want != "") {
			t.Errorf("%s: %q, %v", row.what, got, err)
		}
	}
}

func TestSignedByOlderSchemes(t *testing.T) {
	const body = "what do ya want for nothing?" // RFC 4231, test case 2
	const inHex = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(body))
	signature, err := rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	inBase64 := base64.StdEncoding.EncodeToString(signature)
	known := keys{hmac: []secret{{"jefe", []byte("Jefe")}}, rsa: map[string]*rsa.PublicKey{"pair": &private.PublicKey}}
	for _, row := range []struct {
		what, body, want string
		header           http.Header
	}{
		{"HMAC", body, "jefe", http.Header{"X-Hmac-Sha256": {inHex}}},
		{"HMAC of another body", body + ".", "", http.Header{"X-Hmac-Sha256": {inHex}}},
		{"RSA", body, "pair", http.Header{"X-Rsa-Sha256": {inBase64}}},
		{"RSA of another body", body + ".", "", http.Header{"X-Rsa-Sha256": {inBase64}}},
		{"not hexadecimal", body, "", http.Header{"X-Hmac-Sha256": {inBase64}}},
		{"two", body, "", http.Header{"X-Hmac-Sha256": {inHex, inHex}}},
		{"both", body, "", http.Header{"X-Hmac-Sha256": {inHex}, "X-Rsa-Sha256": {inBase64}}},
		{"none", body, "", http.Header{}},
	} {
		got, err := known.signedBy(row.header, []byte(row.body), time.Now())
		if got != row.want || (err == nil) != (row.want != "") {
			t.Errorf("%s: %q, %v", row.what, got, err)
		}
	}
}
