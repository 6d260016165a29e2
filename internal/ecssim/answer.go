package ecssim

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
)

// object is an answer or a part of one. The order of its fields is kept, so that
// JSON and XML show the same.
type object []field

type field struct {
	name string
	// value is a string, int, bool, object, or a list of strings or objects.
	value any
}

// apiError is a refusal as ECS words it.
type apiError struct {
	status  int
	code    string
	message string
	detail  object
	header  map[string]string
}

func refuse(status int, code, format string, args ...any) *apiError {
	return &apiError{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

func missing(parameter string) *apiError {
	return refuse(400, "MissingParameter",
		"The input parameter %q that is mandatory for processing this request is not supplied.", parameter)
}

// write answers a call and completes its entry in the log.
func (s *Server) write(w http.ResponseWriter, c *call, answer object, refusal *apiError) {
	status, header, body := s.render(c, answer, refusal)
	s.mu.Lock()
	c.log.Status = status
	s.mu.Unlock()
	for name, value := range header {
		w.Header().Set(name, value)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// render puts an answer into the format that the client has asked for.
func (s *Server) render(c *call, answer object, refusal *apiError) (status int, header map[string]string, body []byte) {
	header = map[string]string{}
	status, root := http.StatusOK, c.log.Action+"Response"
	s.mu.Lock()
	requestID := c.log.RequestID
	if refusal != nil {
		c.log.Code = refusal.code
	}
	s.mu.Unlock()
	answer = append(object{{"RequestId", requestID}}, answer...)
	if refusal != nil {
		status, root = refusal.status, "Error"
		answer = append(answer,
			field{"HostId", c.request.Host}, field{"Code", refusal.code}, field{"Message", refusal.message},
			field{"Recommend", "https://api.aliyun.com/troubleshoot?q=" + refusal.code})
		if refusal.detail != nil {
			answer = append(answer, field{"AccessDeniedDetail", refusal.detail})
		}
		for name, value := range refusal.header {
			header[name] = value
		}
	}
	var b bytes.Buffer
	if c.json {
		header["Content-Type"] = "application/json;charset=utf-8"
		writeJSON(&b, answer)
	} else {
		header["Content-Type"] = "text/xml;charset=utf-8"
		b.WriteString("<?xml version='1.0' encoding='UTF-8'?>")
		writeXML(&b, root, answer)
	}
	header["x-acs-request-id"] = requestID
	return status, header, b.Bytes()
}

func writeJSON(b *bytes.Buffer, value any) {
	switch v := value.(type) {
	case object:
		b.WriteByte('{')
		for i, f := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			writeJSON(b, f.name)
			b.WriteByte(':')
			writeJSON(b, f.value)
		}
		b.WriteByte('}')
	case []object:
		writeList(b, v)
	case []string:
		writeList(b, v)
	default:
		text, _ := json.Marshal(v)
		b.Write(text)
	}
}

func writeList[T any](b *bytes.Buffer, list []T) {
	b.WriteByte('[')
	for i, element := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		writeJSON(b, element)
	}
	b.WriteByte(']')
}

// writeXML writes a list as a repeated element of its name.
func writeXML(b *bytes.Buffer, name string, value any) {
	switch v := value.(type) {
	case []object:
		for _, element := range v {
			writeXML(b, name, element)
		}
		return
	case []string:
		for _, element := range v {
			writeXML(b, name, element)
		}
		return
	}
	b.WriteString("<" + name + ">")
	if fields, ok := value.(object); ok {
		for _, f := range fields {
			writeXML(b, f.name, f.value)
		}
	} else {
		_ = xml.EscapeText(b, fmt.Append(nil, value))
	}
	b.WriteString("</" + name + ">")
}
