"""paho against an MQTT broker: `client_paho.py PORT ID VERSION MESSAGES` publishes so many messages of each quality of
service to ID/0, ID/1 and ID/2, which it has subscribed to, and writes what came of it as JSON."""

import json
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

port, name, version, messages = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
arrived = threading.Semaphore(0)
subscribed = threading.Event()
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTProtocolVersion(version))
client.username_pw_set("user", "a secret")
client.on_message = lambda *_: arrived.release()
client.on_subscribe = lambda *_: subscribed.set()
client.on_connect = lambda *_: client.subscribe(f"{name}/#", 2)
client.max_inflight_messages_set(100)
client.connect("127.0.0.1", port)
client.loop_start()
assert subscribed.wait(10)
properties = None
if version == 5:
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
    properties.CorrelationData = b"conversation"
sent = [
    client.publish(f"{name}/{qos}", b"x" * 20 * qos, qos, properties=properties)
    for _ in range(messages)
    for qos in (0, 1, 2)
]
sent.append(client.publish(f"{name}/large", bytes(300_000), 1, properties=properties))
for message in sent:
    message.wait_for_publish(20)
received = sum(arrived.acquire(timeout=20) for _ in sent)
client.disconnect()
client.loop_stop()
print(json.dumps({"sent": len(sent), "received": received}))
