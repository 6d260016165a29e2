package ecssim

import (
	"testing"
	"time"
)

func TestClientTokenRepeatsTheFirstAnswer(t *testing.T) {
	for _, sdk := range allSDKs {
		t.Run(sdk.name, func(t *testing.T) {
			s, url := startServer(t, Options{})
			first := sdk.do(t, url, testKey, "ModifySecurityGroupPolicy", modifyParams("Drop", "t-1"))
			wantSuccess(t, first)
			s.SetPolicy(testRegion, testGroup, "accept")
			again := sdk.do(t, url, testKey, "ModifySecurityGroupPolicy", modifyParams("Drop", "t-1"))
			wantSuccess(t, again)
			wantEqual(t, "RequestId", again.text("RequestId"), first.text("RequestId"))
			group, _ := s.Group(testRegion, testGroup)
			wantEqual(t, "policy, changed by another since", group.Policy, Accept)
			wantRefusal(t, sdk.do(t, url, testKey, "ModifySecurityGroupPolicy", modifyParams("Accept", "t-1")), 400, "IdempotentParameterMismatch")
			wantSuccess(t, sdk.do(t, url, testKey, "ModifySecurityGroupPolicy", modifyParams("Drop", "t-2")))
			wantEqual(t, "effects", len(s.Effects(testRegion, testGroup)), 3)
			effects := 0
			for _, call := range s.Calls() {
				if call.Effect {
					effects++
				}
			}
			wantEqual(t, "calls with an effect", effects, 2)
		})
	}
}

func TestClientTokenOfARunningCallIsRefused(t *testing.T) {
	s, url := startServer(t, Options{})
	s.Inject(Fault{Kind: HangInside, Times: 1})
	first := make(chan reply, 1)
	ctx := t.Context()
	go func() {
		first <- headerSDK.call(ctx, url, testKey, "ModifySecurityGroupPolicy", modifyParams("Drop", "t-1"))
	}()
	await(t, "the token is taken", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.tokens.calls) == 1
	})
	wantRefusal(t, headerSDK.do(t, url, testKey, "ModifySecurityGroupPolicy", modifyParams("Drop", "t-1")), 403, "LastTokenProcessing")
	wantEqual(t, "effects", len(s.Effects(testRegion, testGroup)), 0)
	s.Release()
	done := <-first
	wantSuccess(t, done)
	again := headerSDK.do(t, url, testKey, "ModifySecurityGroupPolicy", modifyParams("Drop", "t-1"))
	wantEqual(t, "RequestId", again.text("RequestId"), done.text("RequestId"))
}

func TestClientTokenOfARefusedCallIsFree(t *testing.T) {
	s, url := startServer(t, Options{})
	s.DeleteGroup(testRegion, testGroup)
	wantRefusal(t, headerSDK.do(t, url, testKey, "ModifySecurityGroupPolicy", modifyParams("Drop", "t-1")), 404, "InvalidSecurityGroupId.NotFound")
	s.PutGroup(Group{Region: testRegion, ID: testGroup})
	wantSuccess(t, headerSDK.do(t, url, testKey, "ModifySecurityGroupPolicy", modifyParams("Drop", "t-1")))
	wantEqual(t, "effects", len(s.Effects(testRegion, testGroup)), 1)
}

func TestClientTokensBelongToAnAccountAndEnd(t *testing.T) {
	clock := &movableClock{}
	other := Key{ID: "other", Secret: "s", Account: "2000000000000002"}
	s, url := startServer(t, Options{Now: clock.Now, Keys: []Key{testKey, other}})
	wantSuccess(t, headerSDK.do(t, url, testKey, "ModifySecurityGroupPolicy", modifyParams("Drop", "t-1")))
	wantRefusal(t, headerSDK.do(t, url, other, "ModifySecurityGroupPolicy", modifyParams("Accept", "t-1")), 404, "InvalidSecurityGroupId.NotFound")

	c := &call{log: &Call{Action: "ModifySecurityGroupPolicy"}, query: map[string][]string{"ClientToken": {"t-2"}}}
	if _, _, refusal := s.tokens.begin(clock.Now().Add(tokenLifetime+time.Minute), c); refusal != nil {
		t.Fatal(refusal.code)
	}
	wantEqual(t, "remembered tokens", len(s.tokens.calls), 1)
}
