package main

import (
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
