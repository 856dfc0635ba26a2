package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
)

// The CNI plugin behind bridge and portmap: it announces a pod and its addresses to the enforcer, and lets it start when
// its rules are in force. So no pod of the lab sends or takes anything before its policies hold. (The API server learns
// a pod's address up to a second after it has begun.) It changes nothing by itself.

const cniName = "lab-network-policies" // the program's name under which it is a plugin

type cniConfig struct {
	CNIVersion string          `json:"cniVersion"`
	Socket     string          `json:"socket"`
	PrevResult json.RawMessage `json:"prevResult"`
}

func cni(command, args string, in io.Reader, out io.Writer) error {
	var config cniConfig
	if err := json.NewDecoder(in).Decode(&config); err != nil {
		return err
	}
	switch command {
	case "VERSION":
		_, err := fmt.Fprintln(out, `{"cniVersion": "0.4.0", "supportedVersions": ["0.3.0", "0.3.1", "0.4.0"]}`)
		return err
	case "ADD":
		told, err := announcedBy(args, config.PrevResult)
		if err != nil {
			return err
		}
		body, err := json.Marshal(told)
		if err != nil {
			return err
		}
		response, err := enforcerClient(config.Socket, announceWait+watchGrace).Post("http://enforcer/announce", "application/json", bytes.NewReader(body))
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			words, _ := io.ReadAll(response.Body)
			return fmt.Errorf("pod %s/%s: %s", told.Namespace, told.Name, strings.TrimSpace(string(words)))
		}
		_, err = out.Write(config.PrevResult)
		return err
	default: // DEL, CHECK: whoever gets the address next announces that
		return nil
	}
}

// announcedBy reads the pod from CNI_ARGS and its addresses from the result of the plugins before.
func announcedBy(args string, prevResult json.RawMessage) (announced, error) {
	var result struct {
		IPs []struct {
			Address netip.Prefix `json:"address"`
		} `json:"ips"`
	}
	if err := json.Unmarshal(prevResult, &result); err != nil {
		return announced{}, fmt.Errorf("the result of the plugins before: %w", err)
	}
	told := announced{}
	for _, pair := range strings.Split(args, ";") {
		key, value, _ := strings.Cut(pair, "=")
		switch key {
		case "K8S_POD_NAMESPACE":
			told.Namespace = value
		case "K8S_POD_NAME":
			told.Name = value
		case "K8S_POD_UID":
			told.UID = value
		}
	}
	for _, ip := range result.IPs {
		told.Addresses = append(told.Addresses, ip.Address.Addr().Unmap())
	}
	return told, nil
}

// cniMain runs the plugin and tells its failure as the CNI wants it: on standard output, as an object.
func cniMain() int {
	err := cni(os.Getenv("CNI_COMMAND"), os.Getenv("CNI_ARGS"), os.Stdin, os.Stdout)
	if err == nil {
		return 0
	}
	words, _ := json.Marshal(map[string]any{"cniVersion": "0.4.0", "code": 100, "msg": cniName + ": " + err.Error()})
	fmt.Println(string(words))
	return 1
}
