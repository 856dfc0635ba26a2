package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"time"
)

const (
	watchSeconds = 60 // the server ends a watch after that, so that a dead connection is noticed
	watchGrace   = 10 * time.Second
	watchRetry   = 200 * time.Millisecond
)

// apiServer is what of a client's configuration a watch needs.
type apiServer struct {
	url    string
	client *http.Client
}

// watcher keeps one kind of objects as the API server has it: list, then watch, for ever.
type watcher[T any] struct {
	server apiServer
	path   string
	meta   func(*T) *objectMeta
	// replace is told of everything that there is, change of one object; nil is one that is gone.
	replace func(map[string]*T)
	change  func(uid string, object *T)
}

func (w watcher[T]) run(ctx context.Context) {
	version := ""
	for ctx.Err() == nil {
		var err error
		if version == "" {
			version, err = w.list(ctx)
		} else {
			version, err = w.watch(ctx, version)
		}
		if err != nil && ctx.Err() == nil {
			log.Printf("%s: %v", w.path, err)
			time.Sleep(watchRetry)
		}
	}
}

func (w watcher[T]) list(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, watchGrace)
	defer cancel()
	body, err := w.get(ctx, w.path)
	if err != nil {
		return "", err
	}
	defer body.Close()
	var list struct {
		Metadata objectMeta `json:"metadata"`
		Items    []*T       `json:"items"`
	}
	if err := json.NewDecoder(body).Decode(&list); err != nil {
		return "", err
	}
	all := map[string]*T{}
	for _, item := range list.Items {
		all[w.meta(item).UID] = item
	}
	w.replace(all)
	return list.Metadata.ResourceVersion, nil
}

// watch follows changes from a version on and returns the last one seen; none when it has to begin anew.
func (w watcher[T]) watch(ctx context.Context, version string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, watchSeconds*time.Second+watchGrace)
	defer cancel()
	path := fmt.Sprintf("%s?watch=1&allowWatchBookmarks=true&timeoutSeconds=%d&resourceVersion=%s", w.path, watchSeconds, version)
	body, err := w.get(ctx, path)
	if err != nil {
		return restart(version, err), err
	}
	defer body.Close()
	stream := json.NewDecoder(body)
	for {
		var event struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		if err := stream.Decode(&event); errors.Is(err, io.EOF) {
			return version, nil
		} else if err != nil {
			return version, err
		}
		if event.Type == "ERROR" { // the version is too old, as a rule
			return "", fmt.Errorf("the watch ended: %s", event.Object)
		}
		object := new(T)
		if err := json.Unmarshal(event.Object, object); err != nil {
			return "", err
		}
		meta := w.meta(object)
		version = meta.ResourceVersion
		switch event.Type {
		case "BOOKMARK":
		case "DELETED":
			w.change(meta.UID, nil)
		default:
			w.change(meta.UID, object)
		}
	}
}

// restart: only what the server itself refuses makes the version worthless.
func restart(version string, err error) string {
	if _, refused := err.(statusError); refused {
		return ""
	}
	return version
}

type statusError string

func (e statusError) Error() string { return string(e) }

func (w watcher[T]) get(ctx context.Context, path string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.server.url+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := w.server.client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, statusError(response.Status)
	}
	return response.Body, nil
}
