package slim

import (
	"io"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/client-go/rest/watch"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// event is one of a resource that was changed, as the API server writes it.
const event = `{"type":"MODIFIED","object":{"apiVersion":"ecs.alibabacloud.com/v1alpha1","kind":"SecurityGroupPolicy","metadata":{"creationTimestamp":"2026-11-25T02:57:09Z","generation":1,` +
	`"managedFields":[{"apiVersion":"ecs.alibabacloud.com/v1alpha1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{".":{},"f:deletionPolicy":{},"f:innerAccessPolicy":{},"f:managementPolicy":{},"f:regionId":{},"f:securityGroupId":{}}},"manager":"kubectl","operation":"Update","time":"2026-11-25T02:57:09Z"},` +
	`{"apiVersion":"ecs.alibabacloud.com/v1alpha1","fieldsType":"FieldsV1","fieldsV1":{"f:status":{"f:conditions":{".":{},"k:{\"type\":\"Ready\"}":{".":{},"f:lastTransitionTime":{},"f:message":{},"f:observedGeneration":{},"f:reason":{},"f:status":{},"f:type":{}}},"f:innerAccessPolicy":{},"f:lastModification":{".":{},"f:cause":{},"f:from":{},"f:requestId":{},"f:time":{},"f:to":{}},"f:observedGeneration":{},"f:originalInnerAccessPolicy":{}}},"manager":"manager","operation":"Update","subresource":"status","time":"2026-11-25T02:57:09Z"}],` +
	`"name":"r-000001","namespace":"bench","resourceVersion":"253","uid":"759b572e-1483-49af-8acd-e210b94c346c"},` +
	`"spec":{"deletionPolicy":"Retain","innerAccessPolicy":"Drop","managementPolicy":"Enforce","regionId":"cn-hangzhou","securityGroupId":"sg-bench000001"},` +
	`"status":{"conditions":[{"lastTransitionTime":"2026-11-25T02:57:09Z","message":"The security group's inner access policy is Drop, as declared","observedGeneration":1,"reason":"InSync","status":"True","type":"Ready"}],` +
	`"innerAccessPolicy":"Drop","lastModification":{"cause":"Spec","from":"Accept","requestId":"3BACAD16-568C-4865-9AC3-E30A95005CCC","time":"2026-11-25T02:57:09Z","to":"Drop"},"observedGeneration":1,"originalInnerAccessPolicy":"Accept"}}}` + "\n"

// endless is a watch that sees the same event again and again.
type endless struct{ left string }

func (e *endless) Read(p []byte) (int, error) {
	if e.left == "" {
		e.left = event
	}
	n := copy(p, e.left)
	e.left = e.left[n:]
	return n, nil
}

// BenchmarkWatchEvent is what client-go takes to decode an event as it comes, and
// without its managed fields, their removal included.
func BenchmarkWatchEvent(b *testing.B) {
	for name, stream := range map[string]io.ReadCloser{
		"as-it-comes": io.NopCloser(&endless{}),
		"slimmed":     &body{ReadCloser: io.NopCloser(&endless{})},
	} {
		b.Run(name, func(b *testing.B) {
			scheme := runtime.NewScheme()
			if err := v1alpha1.AddToScheme(scheme); err != nil {
				b.Fatal(err)
			}
			codecs := serializer.NewCodecFactory(scheme).WithoutConversion()
			info, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeJSON)
			if !ok {
				b.Fatal("no JSON")
			}
			events := streaming.NewDecoder(info.StreamSerializer.NewFrameReader(stream), info.StreamSerializer.Serializer)
			decoder := watch.NewDecoder(events, codecs.DecoderToVersion(info.Serializer, v1alpha1.GroupVersion))
			b.ReportAllocs()
			for b.Loop() {
				_, object, err := decoder.Decode()
				if err != nil {
					b.Fatal(err)
				}
				if p, ok := object.(*v1alpha1.SecurityGroupPolicy); !ok || p.Status.LastModification == nil {
					b.Fatalf("decoded %+v", object)
				}
			}
		})
	}
}
