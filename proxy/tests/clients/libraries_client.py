import asyncio, ssl, sys
library, proxy, url, ca = sys.argv[1:5]

def requests_get():
    import requests
    session = requests.Session()
    session.trust_env = False
    answer = session.get(url, proxies={"http": proxy, "https": proxy}, verify=ca, timeout=10)
    return f"{answer.status_code} {answer.reason} {answer.text}"

def httpx_get():
    import httpx
    with httpx.Client(proxy=proxy, verify=ssl.create_default_context(cafile=ca), trust_env=False, timeout=10) as client:
        answer = client.get(url)
        return f"{answer.status_code} {answer.reason_phrase} {answer.text}"

async def aiohttp_get():
    import aiohttp
    context = ssl.create_default_context(cafile=ca)
    async with aiohttp.ClientSession() as session, session.get(url, proxy=proxy, ssl=context) as answer:
        return f"{answer.status} {answer.reason} {await answer.text()}"

try:
    print({"requests": requests_get, "httpx": httpx_get, "aiohttp": lambda: asyncio.run(aiohttp_get())}[library]())
except Exception as error:
    print(type(error).__name__, error)
