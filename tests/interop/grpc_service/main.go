// A service in Go that carries out TaskFlow's tasks by gRPC. Its messages are made from the contract at run time, of the
// descriptor that the Python side prints, so that no generated code is kept twice. It tells its address on the first line,
// and serves until its input ends.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	_ "google.golang.org/protobuf/types/known/structpb"
)

const serviceName = "grpc_task.v1.TaskExecutorService"

// service keeps what it needs to stop its tasks.
type service struct {
	file    protoreflect.FileDescriptor
	mu      sync.Mutex
	running map[string]chan struct{}
}

func (s *service) message(name string) *dynamicpb.Message {
	return dynamicpb.NewMessage(s.file.Messages().ByName(protoreflect.Name(name)))
}

func set(m protoreflect.Message, name string, value any) {
	m.Set(m.Descriptor().Fields().ByName(protoreflect.Name(name)), protoreflect.ValueOf(value))
}

func get(m protoreflect.Message, name string) protoreflect.Value {
	return m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(name)))
}

// execute sends progress, and then the payload as the result; the method "hold" waits to be cancelled.
func (s *service) execute(_ any, stream grpc.ServerStream) error {
	request := s.message("ExecuteTaskRequest")
	if err := stream.RecvMsg(request); err != nil {
		return err
	}
	id := get(request, "task_id").String()
	stop := make(chan struct{})
	s.mu.Lock()
	s.running[id] = stop
	s.mu.Unlock()

	progress := s.message("Progress")
	set(progress, "task_id", id)
	set(progress, "percentage", int32(50))
	set(progress, "stage", "go")
	if err := s.send(stream, "progress", progress); err != nil {
		return err
	}
	status := protoreflect.EnumNumber(1)
	if get(request, "task_type").String() == "hold" {
		<-stop
		status = 3
		fmt.Println("cancelled", id)
	}
	result := s.message("TaskResult")
	set(result, "task_id", id)
	set(result, "status", status)
	set(result, "data", get(request, "payload").Message())
	set(result, "duration_ms", int64(7))
	return s.send(stream, "result", result)
}

func (s *service) send(stream grpc.ServerStream, field string, value *dynamicpb.Message) error {
	response := s.message("ExecuteTaskResponse")
	set(response, field, value)
	return stream.SendMsg(response)
}

func (s *service) cancel(request *dynamicpb.Message) *dynamicpb.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := get(request, "task_id").String()
	stop, known := s.running[id]
	if known {
		close(stop)
		delete(s.running, id)
	}
	answer := s.message("CancelTaskResponse")
	set(answer, "success", known)
	return answer
}

func (s *service) health(*dynamicpb.Message) *dynamicpb.Message {
	answer := s.message("HealthCheckResponse")
	set(answer, "status", protoreflect.EnumNumber(1))
	return answer
}

func (s *service) unary(name, request string, answer func(*dynamicpb.Message) *dynamicpb.Message) grpc.MethodDesc {
	handler := func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		message := s.message(request)
		if err := decode(message); err != nil {
			return nil, err
		}
		return answer(message), nil
	}
	return grpc.MethodDesc{MethodName: name, Handler: handler}
}

// contract reads the file's descriptor.
func contract(path string) (protoreflect.FileDescriptor, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	descriptor := &descriptorpb.FileDescriptorProto{}
	if err := proto.Unmarshal(data, descriptor); err != nil {
		return nil, err
	}
	return protodesc.NewFile(descriptor, protoregistry.GlobalFiles)
}

func serve() error {
	file, err := contract(os.Args[1])
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &service{file: file, running: map[string]chan struct{}{}}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: serviceName,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			s.unary("CancelTask", "CancelTaskRequest", s.cancel),
			s.unary("HealthCheck", "HealthCheckRequest", s.health),
		},
		Streams: []grpc.StreamDesc{{StreamName: "ExecuteTask", Handler: s.execute, ServerStreams: true}},
	}, s)
	fmt.Println(listener.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		server.Stop()
	}()
	return server.Serve(listener)
}

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
